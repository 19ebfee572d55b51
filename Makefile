# `make demo` and `make test` need only Python 3.11 or newer, git and make: they set everything else up in .venv.

PYTHON ?= python3
ROUNDS ?= 1
BIN := .venv/bin

.PHONY: demo test faults chaos lint image-test clean

demo: .venv/ready
	rm -rf demo
	$(BIN)/propagate synth demo/street --snippets 2 --around 5
	$(BIN)/propagate run --root demo/street --out demo/shards --frames 5 --clips-per-shard 1
	$(BIN)/propagate verify demo/shards
	$(BIN)/propagate evaluate demo/shards --root demo/street --truth demo/street/truth
	@echo
	@echo "The data set is in demo/street, the propagated labels are in demo/shards (propagate info demo/shards)."
	@echo "Open this page in a browser to see them:"
	@$(BIN)/propagate report demo/shards --truth demo/street/truth

# four processes for two cores, since Ray's tests mostly wait, but one thread each, and where a run takes more they sleep
# while they wait: more take half as much time again, and those that spin take three times as much. What is compiled of
# Python is kept, whatever the environment says: the tests start a hundred processes
test: .venv/developer
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

# every system call of a run, and 60 of each training, made to fail in turn, 1,344 damaged inputs, and 200 flipped bits of
# each kind of file that carries a checksum: some minutes
faults: .venv/developer
	FAULTS=all CHAOS_INPUTS=48 $(BIN)/pytest --timeout 1800 --capture no tests/faults tests/chaos/test_inputs.py \
		tests/propagate/shards/test_damage.py tests/propagate/shards/test_manifest.py tests/jobs/training/test_checksums.py

# kills, stops, cut links and nodes that see nothing, on clusters of this machine; goes on where it was
chaos: .venv/developer
	PYTHONPATH=.:tests $(BIN)/python -m chaos.run --rounds $(ROUNDS)

lint: .venv/developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=benchmarks:tests $(BIN)/mypy --explicit-package-bases benchmarks examples

# a quarter of an hour: the image with all that pip installs; .ci/run builds it with what .venv has
image-test: .venv/ready
	docker/check_image.sh whole

clean:
	rm -rf .venv demo chaos *.egg-info

.venv/ready: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

# what checks the code, which running it does not need; cityscapesScripts without what its viewers need
.venv/developer: .venv/ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps cityscapesscripts pyquaternion
	touch $@
