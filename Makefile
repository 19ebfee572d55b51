# `make demo` and `make test` need only Python 3.11 or newer, git and make: they set everything else up in .venv.

PYTHON ?= python3
ROUNDS ?= 1
BIN := .venv/bin

.PHONY: demo test chaos lint clean

demo: .venv/ready
	rm -rf demo
	$(BIN)/propagate synth demo/street --snippets 2
	$(BIN)/propagate run --root demo/street --out demo/shards --frames 5 --clips-per-shard 1
	$(BIN)/propagate verify demo/shards
	$(BIN)/propagate evaluate demo/shards --root demo/street --truth demo/street/truth
	@echo
	@echo "The data set is in demo/street, the propagated labels are in demo/shards (propagate info demo/shards)."

test: .venv/developer
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# kills, stops, cut links and nodes that see nothing, on clusters of this machine; goes on where it was
chaos: .venv/developer
	PYTHONPATH=.:tests $(BIN)/python -m chaos.run --rounds $(ROUNDS)

lint: .venv/developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv demo chaos *.egg-info

.venv/ready: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

# what checks the code, which running it does not need
.venv/developer: .venv/ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
