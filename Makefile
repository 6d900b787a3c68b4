# make run · make test · make test-system · make check · make bench · make fuzz
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SECONDS_OF_FUZZ ?= 600

.PHONY: run test test-system check bench fuzz peers docs clean

run: $(VENV)/installed
	@echo
	@echo "Send the first image from another terminal, in this folder:"
	@echo "  $(BIN)/scpd send 127.0.0.1:11112 $$($(BIN)/python -c 'from pydicom.data import get_testdata_file; print(get_testdata_file("CT_small.dcm"))')"
	@echo "It will be below scpd-data/. Stop with Ctrl-C."
	@echo
	$(BIN)/scpd run config/scpd.yaml

# Mostly waiting for daemons, so three at a time, and all of them have to find the same tests in the same order; but
# what takes the system's processes, memory or disks away runs alone.
test: peers $(VENV)/tested-with
	PYTHONHASHSEED=0 $(BIN)/pytest -n 3 --dist loadfile --ignore tests/faults
	$(BIN)/pytest tests/faults

# Under a real systemd, in a real image, and what has to be waited out: as root, with what tests/peers.sh installs.
test-system: $(VENV)/tested-with
	@sh tests/peers.sh system
	$(BIN)/pytest -m 'systemd or image'
	PYTHONHASHSEED=0 $(BIN)/pytest -n 3 -m slow

check: $(VENV)/tested-with
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: peers $(VENV)/tested-with
	$(BIN)/python tests/benchmarks/bench.py

fuzz: $(VENV)/tested-with
	SCPD_FUZZ_SECONDS=$(SECONDS_OF_FUZZ) $(BIN)/pytest tests/fuzz

# Real peers that the tests talk to, where they may be installed; tests that need an absent one are skipped by name.
peers:
	@sh tests/peers.sh

# What is made from the configuration's models; a test says when it is stale.
docs: $(VENV)/installed
	$(BIN)/scpd schema > config/schema.json
	$(BIN)/scpd schema --markdown > docs/configuration.md

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/tested-with: pyproject.toml | peers
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	@if command -v krb5-config >/dev/null; then $(BIN)/pip install --quiet --editable '.[kerberos]'; \
	else echo "not installed, its tests are skipped: the extra kerberos, which is built with libkrb5-dev"; fi
	@touch $(VENV)/installed $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
