"""`python -m propagate` is `propagate`."""

from jobs.console.entry import enter


def main() -> None:
    """Run the command line."""
    enter("propagate")


if __name__ == "__main__":
    main()
