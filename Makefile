# `make` sets up and runs the default study; `make test` sets up and runs every check and test; `make plan STUDY=imagenet`
# prints what studies/imagenet.yaml will take, `make why STUDY=mnist` what changed since its jobs last ran.

# The first interpreter found that the lock covers (3.11 to 3.13). Override: make PYTHON=/path/to/python
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11; do \
	"$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo "$$candidate" && break; done)
BIN := .venv/bin

.DELETE_ON_ERROR:
.PHONY: study plan why test check schema lock clean

study: .venv/.installed
	@$(BIN)/snakemake --cores all --quiet reason host

plan: .venv/.installed
	@$(BIN)/snakemake --cores 1 --quiet all $(if $(STUDY),--configfile studies/$(STUDY).yaml) -- plan

why: .venv/.installed
	@PYTHONPATH=. $(BIN)/python -m workflow_scripts.why $(if $(STUDY),--configfile studies/$(STUDY).yaml)

test: check
	@$(BIN)/pytest

check: .venv/.installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/snakefmt --check Snakefile rules
	@$(BIN)/snakemake --lint

# Bring the config's schema and the documentation up to date with the tables in the code that they follow from.
schema: .venv/.installed
	@PYTHONPATH=. $(BIN)/python -m workflow_scripts.write_schema

.venv/.installed: envs/requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 on PATH; install one or run: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r envs/requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Resolve envs/requirements.in again, for the platforms named in pyproject.toml. Needs uv on PATH.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock' \
		envs/requirements.in --output-file envs/requirements.lock

clean:
	rm -rf .venv
