# Turns a fresh machine with Python 3.11+ into a run (`make run`) or a verdict on the code (`make test`).
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
# pip's own find-links setting reaches uv; empty is harmless.
export UV_FIND_LINKS ?= $(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null)
export UV_COMPILE_BYTECODE := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export OMP_WAIT_POLICY := PASSIVE
UV := $(BIN)/uv pip
INSTALL := $(UV) install --python $(BIN)/python
LOCKED := $(INSTALL) --quiet --no-deps --require-hashes
LOCK := $(UV) compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate --no-emit-find-links --no-emit-index-url
# Leaves out of a lock file what requirements/torch.txt brings, and what only Windows and browsers need.
APART := '/^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z-]+|pywin32|httpx2-jsfetch)==/,/[^\\]$$/d'
# Extras in the image of the Dockerfile.
SERVED := postgres cluster delta provenance safety
SBOM ?= dist/sbom.json

.PHONY: help run test bench lint lock sbom audit drawings clean python-is-new-enough

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

python-is-new-enough:
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no '$(PYTHON)' here. Install Python 3.11, 3.12 or 3.13, or give its path: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "make: $$($(PYTHON) --version 2>&1) will not do, Adloom needs 3.11, 3.12 or 3.13. Give its path: make PYTHON=/path/to/python3.11" >&2; exit 2; }

$(BIN)/uv: | python-is-new-enough
	@echo "[set-up] creating .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

.venv/.installed: pyproject.toml requirements/lock.txt requirements/torch.txt | $(BIN)/uv
	@echo "[set-up] installing what Adloom runs on (a minute or two the first time)"
	@$(LOCKED) -r requirements/lock.txt
	@$(INSTALL) --quiet -r requirements/torch.txt
	@$(INSTALL) --quiet --no-deps --editable .
	@echo "[set-up] compiling the loops that replay logs, laying the tables of Prefect's server (a minute)"
	@OMP_NUM_THREADS=1 $(BIN)/python -m flows.set_up
	@touch $@

.venv/.installed-dev: requirements/lock-dev.txt .venv/.installed
	@echo "[set-up] installing what its tests need"
	@$(LOCKED) -r requirements/lock-dev.txt
	@touch $@

.venv-bench/.installed: requirements/bench.txt | $(BIN)/uv
	@echo "[set-up] installing the peers of the benchmarks"
	@$(PYTHON) -m venv .venv-bench
	@$(UV) install --python .venv-bench/bin/python --quiet -r requirements/bench.txt
	@touch $@

run: python-is-new-enough .venv/.installed ## install, then the whole batch on the shipped sample
	@$(BIN)/adloom run

test: python-is-new-enough .venv/.installed-dev lint ## install, then lint, types, import arrows, docs in step, tests
	@echo "[test] tests, on two processes"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

bench: .venv/.installed-dev .venv-bench/.installed ## benchmarks beside their peers (results in benchmarks/results), and the tests that take minutes
	@$(BIN)/python -m benchmarks.intake
	@$(BIN)/python -m benchmarks.ranking_speed
	@$(BIN)/python -m benchmarks.ranking_quality
	@$(BIN)/python -m benchmarks.ope_accuracy
	@$(BIN)/python -m benchmarks.ope_speed
	@$(BIN)/python -m benchmarks.ope_coverage
	@$(BIN)/python -m benchmarks.ab_engine
	@$(BIN)/python -m benchmarks.features
	@$(BIN)/python -m benchmarks.browsing
	@$(BIN)/python -m benchmarks.review_load
	@$(BIN)/python -m benchmarks.check_quality
	@$(BIN)/python -m benchmarks.generator_speed
	@$(BIN)/python -m benchmarks.generator_quality --ways diffusion
	@$(BIN)/python -m benchmarks.real_pictures
	@$(BIN)/python -m benchmarks.sizing --take
	@$(BIN)/python -m pytest -m slow

lint: .venv/.installed-dev ## lint, types, import arrows, docs in step
	@echo "[test] ruff"
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "[test] mypy --strict"
	@$(BIN)/mypy
	@echo "[test] import arrows"
	@$(BIN)/lint-imports
	@echo "[test] docs in step with the code"
	@$(BIN)/python -m flows.write_docs --check

lock: $(BIN)/uv ## choose new versions of every dependency
	@$(LOCK) --upgrade pyproject.toml -o requirements/lock.txt
	@sed -i -E "s/^torch==.*/$$(grep -oE '^torch==[0-9.]+' requirements/lock.txt)/" requirements/torch.txt
	@$(LOCK) --upgrade pyproject.toml --extra dev -c requirements/lock.txt -o requirements/lock-dev.txt
	@$(LOCK) --upgrade pyproject.toml $(foreach extra,$(SERVED),--extra $(extra)) -c requirements/lock-dev.txt -o requirements/lock-server.txt
	@sed -i -E $(APART) requirements/lock.txt requirements/lock-dev.txt requirements/lock-server.txt

sbom: .venv/.installed-dev ## everything that Adloom runs on, as CycloneDX JSON, in dist/sbom.json
	@mkdir -p $(dir $(SBOM))
	@cat requirements/lock.txt requirements/torch.txt | $(BIN)/python -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible --output-file $(SBOM) -
	@echo "wrote $(SBOM)"

audit: .venv/.installed-dev ## ask for known vulnerabilities of every locked package
	@$(BIN)/python -m flows.audit_dependencies

drawings: .venv/.installed-dev ## render the product drawings again
	@$(BIN)/python -m sources.drawings

clean: ## remove what runs and tests made; the shipped sample and .venv stay
	@rm -rf dist data/runs data/models data/intake .pytest_cache .mypy_cache .ruff_cache .hypothesis .prefect
