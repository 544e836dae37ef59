"""``python -m regulens``: the command line."""

from regulens.cli import main

if __name__ == "__main__":
    main()
