"""`python -m screening`: the same as the command `screen`."""

from screening.cli import main

if __name__ == "__main__":
    main()
