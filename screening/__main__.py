"""`python -m screening`: the same as the command `screen`."""

from __future__ import annotations

from screening.cli.commands import main

if __name__ == "__main__":
    main()
