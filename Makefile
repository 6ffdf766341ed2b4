# `make demo` and `make test` are all a newcomer needs; every target makes the environment that it runs in.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# basicsr imports torch and numpy in its build, and in an isolated build pip would download a second torch for that.
# So its build requirements are installed first, then everything else without isolation.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help env test lint format docs coverage notebook options tables demo clean

help:
	@echo 'make demo      train a small model on bundled photographs, test it, write a table and a picture'
	@echo 'make test      run the test suite'
	@echo 'make env       create the virtual environment only, in $(VENV); choose the interpreter with PYTHON=...'
	@echo 'make lint      run ruff, import-linter and mypy;   make format   fix what ruff can fix'
	@echo 'make coverage  run the test suite with coverage; report in htmlcov/'
	@echo 'make docs      build the documentation site in site/;   make notebook   execute its notebook anew'
	@echo 'make options   write options/, its JSON schema and the tables of docs/options.md from the package'
	@echo 'make tables    write the tables of measurements in docs/ from their JSON files'
	@echo 'make clean     remove what the demo and the other targets wrote'

env: $(VENV)/installed-dev

# what running takes
$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' || \
		{ echo 'basicsr 1.4.2 builds on Python 3.10 to 3.12 only; choose one with: make PYTHON=python3.11 ...'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch torchvision numpy cython setuptools wheel
	$(PIP) --no-build-isolation --editable .
	@touch $@

# what developing takes besides
$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) --no-build-isolation --editable '.[app,bench,dev,docs,heif,hub,jpeg,lion,lpips,notebook,onnx,spandrel]'
	@touch $@

test: env
	$(BIN)/python -m pytest

coverage: env
	$(BIN)/python -m pytest --cov --cov-report=term --cov-report=html

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

notebook: env
	$(BIN)/python scripts/run_notebook.py docs/notebooks/loss_in_five_minutes.ipynb

options: env
	$(BIN)/python -m basicsr_entropy.config.templates --write options
	$(BIN)/python -m basicsr_entropy.config.json_schema options/schema.json
	$(BIN)/python -m basicsr_entropy.config.doc_tables docs/options.md

tables: env
	$(BIN)/python scripts/fill_tables.py docs/results.md docs/models.md

datasets/demo_photographs: | $(VENV)/installed
	$(BIN)/python scripts/make_sample.py --out $@

datasets/demo: | datasets/demo_photographs
	$(BIN)/basicsr-entropy prepare --root datasets/demo_photographs --out $@

demo: $(VENV)/installed | datasets/demo
	$(BIN)/basicsr-entropy train -opt options/train/demo.yml
	$(BIN)/basicsr-entropy test -opt options/test/demo.yml
	$(BIN)/basicsr-entropy report -opt options/test/demo.yml --model night_small

clean:
	rm -rf datasets/demo datasets/demo_photographs experiments/demo* results/demo* build dist site htmlcov .coverage*
