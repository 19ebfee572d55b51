"""`python -m segtrain` is `segtrain`."""

from jobs.console.entry import enter


def main() -> None:
    """Run the command line."""
    enter("segtrain")


if __name__ == "__main__":
    main()
