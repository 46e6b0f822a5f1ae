# Every target sets up what it needs and may be run again; the second run starts its work at once.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
SYSTEM := $(VENV)/.system
OUT    ?= out
# Processes that the tests are shared among.
TESTERS ?= 2
# The demo and the benchmarks run several processes on few cores: one thread each is fastest.
export OMP_NUM_THREADS ?= 1

.PHONY: help setup demo test check format bench fuzz wheel arm clean
help:
	@echo "make setup   create $(VENV) with everything in it"
	@echo "make demo    the whole loop on real images, with a live view and $(OUT)/demo/report.html"
	@echo "make test    all tests"
	@echo "make check   format, lint, types, import walls"
	@echo "make format  write the formatting that check asks for"
	@echo "make bench   the longer studies (docs/results)"
	@echo "make arm     the device on emulated ARM boards, against this machine (some minutes the first time)"
	@echo "make fuzz    every decoder of foreign bytes for SECONDS each (default 60), or those in TARGETS"
	@echo "make wheel   a device's installation in an empty environment: no torch, under 250 MB, running"
	@echo "make clean   remove the environment and every output"

# Debian packages: the image data and a broker. Where apt does not work, the data is downloaded
# and the embedded broker is used instead, so a failure here is reported and not fatal.
$(SYSTEM):
	@mkdir -p $(VENV)
	@bash scripts/system-packages.sh
	@touch $@

# torch first, by its exact version: a plain request would fetch several GB of CUDA libraries.
$(STAMP): pyproject.toml $(SYSTEM)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "edgeadapt needs Python 3.10 or newer (3.11 is tested): set PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "venv failed: on Debian, apt install python3-venv"; exit 1; }
	@echo "Installing torch and the packages (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(STAMP)

demo: $(STAMP)
	$(BIN)/edgeadapt demo --out $(OUT)/demo

test: $(STAMP)
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadgroup

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/edgeadapt bench loop --out docs/results
	$(BIN)/edgeadapt bench int8 --out docs/results
	$(BIN)/edgeadapt bench device --out docs/results
	$(BIN)/edgeadapt bench ood --out docs/results
	$(BIN)/edgeadapt bench alarm --out docs/results
	$(BIN)/edgeadapt bench uplink --out docs/results

# The fuzzer is no part of the environment: it is there for the few Pythons that it has wheels for.
SECONDS ?= 60
# Names of tests/fuzz/targets.py; empty: all of them.
TARGETS ?=
fuzz: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	@targets="$(TARGETS)"; targets=$${targets:-$$($(BIN)/python -m tests.fuzz.targets)}; \
	test -n "$$targets" || exit 1; \
	for target in $$targets; do \
		echo "== $$target"; \
		$(BIN)/python -m tests.fuzz.harness $$target -max_total_time=$(SECONDS) -max_len=4096 -rss_limit_mb=2048 || exit 1; \
	done

wheel: $(STAMP)
	PYTHON=$(BIN)/python bash scripts/check-wheel.sh $(OUT)/wheel

# Its own Debian for ARM is kept in $(OUT)/arm.
arm: $(STAMP)
	bash scripts/arm.sh $(OUT)/arm

clean:
	rm -rf $(VENV) $(OUT) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
