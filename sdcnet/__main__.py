"""`python -m sdcnet` is `sdcnet`."""

from sdcnet.cli.main import main

if __name__ == "__main__":
    main(prog_name="sdcnet")
