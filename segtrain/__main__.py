"""`python -m segtrain` is `segtrain`."""

from segtrain.cli.main import main

if __name__ == "__main__":
    main(prog_name="segtrain")
