"""`python -m cgcnn` is the command `cgcnn`."""

from cgcnn.cli import main

if __name__ == "__main__":
    main()
