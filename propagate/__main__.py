"""`python -m propagate` is `propagate`."""

from propagate.cli import main

if __name__ == "__main__":
    main(prog_name="propagate")
