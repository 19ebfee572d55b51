#!/usr/bin/env bash
# The wheel holds all that the packages need, and the demo runs from it, outside the checkout.
# Needs .venv (make demo, make test), whose dependencies it borrows: only our packages come from the wheel.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
python=$checkout/.venv/bin/python
packages="jobs sdcnet propagate segtrain"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# from copies: a build in place would take up what an earlier one has left there
mkdir "$folder/source"
(cd "$checkout" && cp -r $packages setup.cfg pyproject.toml README.md LICENSE "$folder/source")
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$folder/wheel" "$folder/source"
wheel=$(echo "$folder"/wheel/*.whl)

# every file that git knows below the packages, whatever it is called
"$python" -m zipfile --list "$wheel" >"$folder/listing"
for file in $(cd "$checkout" && git ls-files $packages); do
    grep --quiet "^$file " "$folder/listing" || { echo "$wheel: without $file; name it in setup.cfg" >&2; exit 1; }
done

"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-deps "$wheel"
# a folder in a .pth file is searched, but its own .pth files are not: the checkout installed there stays unseen
dependencies=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
site=$("$folder/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$dependencies" >"$site/dependencies.pth"

mkdir "$folder/elsewhere" && cd "$folder/elsewhere"
unset PYTHONPATH
"$folder/venv/bin/python" - "$site" $packages <<'PROGRAM'
import sys
from importlib import import_module
from pathlib import Path

site, *packages = sys.argv[1:]
for package in packages:
    found = Path(import_module(package).__file__)
    assert found.is_relative_to(site), f"{package} comes from {found}, not from the wheel"
PROGRAM

# the demo's own commands, with the programs of the wheel; nothing is to be set up here
make --file "$checkout/Makefile" --assume-old .venv/ready demo BIN="$folder/venv/bin"
echo "$(basename "$wheel"): whole, and the demo runs from it"
