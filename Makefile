# On a fresh machine: `make run` sets up and builds everything, `make test` sets up and tests everything.
# A virtual environment made by hand or by conda works as well: make PYTHON=... VENV=...
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
AGENT ?= travel_booking
CORES ?= all
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)/scripts

.PHONY: help setup run test check converter crewai chat clean

help:
	@echo "make run      set up, then build everything: snakemake --cores all"
	@echo "make test     set up, then run the tests and the style checks"
	@echo "make chat     talk to a compiled agent: make chat AGENT=travel_booking ARGS="--temperature 0.7""
	@echo "make check    the style checks alone"
	@echo "make converter  fetch llama.cpp's converter, for bases such as Gemma, Mistral and Phi"
	@echo "make crewai   an environment of its own for CrewAI, which is compared with: 1 GB"
	@echo "make clean    remove what was built; .cache/ and the environment stay"

setup: $(VENV)/.ready

# llama.cpp is compiled from source, without its image part; that takes most of the time.
$(VENV)/.ready: envs/requirements.txt envs/constraints.txt
	@echo "Setting up $(VENV): about 5 minutes on two cores, once."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@CMAKE_ARGS="$${CMAKE_ARGS:--DLLAVA_BUILD=OFF}" $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-r envs/requirements.txt -c envs/constraints.txt
	@touch $@

run: setup
	@snakemake --cores $(CORES)
	@echo
	@echo "Report:  results/report.html"
	@for agent in $$(cd results && ls -d */gguf | cut -d / -f 1); do \
		echo "$$agent:  models in results/$$agent/gguf/, talk to the best one by  make chat AGENT=$$agent"; done

test: setup check
	@python -m pytest

check: setup
	@ruff check .
	@ruff format --check --quiet .
	@snakefmt --check Snakefile rules
	@snakemake --lint

# For bases that our own writer does not know; else it is fetched when it is first needed.
converter: setup
	@python -c 'from subterra.export.converter import fetch_converter; print(fetch_converter(".cache"))'

# Its pins do not go together with ours.
crewai: $(VENV)-crewai/.ready

$(VENV)-crewai/.ready: envs/crewai.txt
	@$(PYTHON) -m venv $(VENV)-crewai
	@$(VENV)-crewai/bin/python -m pip install --quiet --disable-pip-version-check -r envs/crewai.txt
	@touch $@

chat: setup
	@python -m subterra.chat results/$(AGENT)/gguf $(ARGS)

clean:
	@rm -rf results logs benchmarks/*/ .snakemake
