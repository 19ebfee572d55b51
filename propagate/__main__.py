"""`python -m propagate` is `propagate`."""

from propagate.cli.main import main

if __name__ == "__main__":
    main(prog_name="propagate")
