# make demo and make test do everything on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
CORPUS ?= synthetic
ROOT ?= demo/$(CORPUS)
DEMO := demo/$(CORPUS)-run
# a corpus that wants other settings than the default has a file of them; a pre-trained encoder stays frozen
SETTINGS := $(if $(filter synthetic,$(CORPUS)),demo,$(CORPUS))
CONFIG := $(if $(wildcard src/gemoclap/configs/$(SETTINGS).yaml),--config $(SETTINGS))
ifdef ENCODER
CONFIG += --config whisper --model.audio_encoder $(ENCODER)
DEMO := $(DEMO)-$(notdir $(patsubst %/,%,$(ENCODER)))
endif

.PHONY: help install demo test lint docs results format clean

help:
	@echo "make demo    prepare a corpus, cross-validate the three methods, write the report, predict one clip"
	@echo "             (a synthetic corpus; or: make demo CORPUS=ravdess ROOT=path/to/ravdess ENCODER=openai/whisper-base)"
	@echo "make test    all tests"
	@echo "make lint    ruff and mypy"
	@echo "make docs    the documentation as a site, in build/site"
	@echo "make results the tables of README.md and docs/, and their pictures, from the records in docs/records"

install: .venv/.installed

# torch first, and pinned: a newer one would bring gigabytes of another build with it.
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit('gemoclap needs Python 3.11 or newer; try make PYTHON=python3.11') if sys.version_info < (3, 11) else None"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/gemoclap prepare $(CORPUS) $(ROOT) -o demo/$(CORPUS).jsonl --overwrite
	$(BIN)/gemoclap inspect demo/$(CORPUS).jsonl || true
	$(BIN)/gemoclap crossval demo/$(CORPUS).jsonl $(CONFIG) -o $(DEMO)
	$(BIN)/gemoclap report $(DEMO) --html > demo/report.txt
	$(BIN)/python -c "from gemoclap.corpora.manifest import read_manifest; print(read_manifest('demo/$(CORPUS).jsonl')[0].path)" > demo/clip.txt
	$(BIN)/gemoclap predict "$$(cat demo/clip.txt)"
	@echo "the report is $(DEMO)/report.html, and as Markdown $(DEMO)/report.md"

test: install
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: install
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/mypy

# The packages that build the site are small, and only this wants them. The variable silences an advertisement of the theme.
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "the site is in build/site; to read it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site"

.venv/.docs: .venv/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# Every figure on the pages of results comes from a record of a run.
results: install
	$(BIN)/python scripts/results.py write

format: install
	$(BIN)/ruff check --fix src tests benchmarks scripts
	$(BIN)/ruff format src tests benchmarks scripts

clean:
	rm -rf .venv build demo .pytest_cache .mypy_cache .ruff_cache
