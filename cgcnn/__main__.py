"""`python -m cgcnn` is the command `cgcnn`."""

from __future__ import annotations

from cgcnn.cli.commands import main

if __name__ == "__main__":
    main()
