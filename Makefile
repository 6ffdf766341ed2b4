# Two commands: `make demo` and `make test`. Both make the environment they need, in .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# basicsr imports torch and numpy while it is built, and pip's isolated build would download a second torch for that:
# hence what it builds with first, then everything else without isolation.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help env test lint format options demo clean

help:
	@echo 'make demo    train a small model on embedded photographs, test it, show a table and a picture'
	@echo 'make test    run the test suite'
	@echo 'make env     make the environment only ($(VENV); PYTHON=... chooses the interpreter)'
	@echo 'make lint    check style;   make format   mend it'
	@echo 'make options write options/ from the templates in basicsr_entropy/config/templates'
	@echo 'make clean   remove what the demo made'

env: $(VENV)/installed

$(VENV)/installed: setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' || \
		{ echo 'basicsr 1.4.2 builds on Python 3.10 to 3.12 only; choose one with: make PYTHON=python3.11 ...'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch torchvision numpy cython setuptools wheel
	$(PIP) --no-build-isolation --editable '.[app,dev,lion,lpips]'
	@touch $@

test: env
	$(BIN)/python -m pytest

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

options: env
	$(BIN)/python -m basicsr_entropy.config.templates --write options

datasets/demo_photographs: | env
	$(BIN)/python scripts/make_sample.py --out $@

datasets/demo: | datasets/demo_photographs
	$(BIN)/basicsr-entropy prepare --root datasets/demo_photographs --out $@

demo: env | datasets/demo
	$(BIN)/basicsr-entropy train -opt options/train/demo.yml
	$(BIN)/basicsr-entropy test -opt options/test/demo.yml
	$(BIN)/basicsr-entropy report -opt options/test/demo.yml

clean:
	rm -rf datasets/demo datasets/demo_photographs experiments/demo* results/demo*
