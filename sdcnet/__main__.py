"""`python -m sdcnet` is `sdcnet`."""

from sdcnet.cli import main

if __name__ == "__main__":
    main(prog_name="sdcnet")
