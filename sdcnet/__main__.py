"""`python -m sdcnet` is `sdcnet`."""

from jobs.console.entry import enter


def main() -> None:
    """Run the command line."""
    enter("sdcnet")


if __name__ == "__main__":
    main()
