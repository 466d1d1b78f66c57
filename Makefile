# make                     set up, and run the default study; open results/digits/index.html
# make STUDY=mnist         the study of studies/mnist.yaml, or of any file: make STUDY=my/study.yaml
# make plan STUDY=imagenet what a study will take, before it runs
# make why STUDY=mnist     what changed since its jobs last ran
# make help                this list
# make test                every check and test but those below; it tries a sample of test-faults
# make test-unit           what takes no Snakemake
# make check               what runs no code of the study: formats, types, names
# make docs                the site of the documentation: open site/index.html
# make test-faults         a SLURM and a bench of faults: killed jobs, damaged files, edits; MCOHERENCE_FAULTS_SEED=7
#                          before it, or before make test, tries others
# make test-search         searches long for networks that are measured wrongly
# make TORCH=system        set up on the torch and torchvision that PYTHON has; .venv remembers it (back: TORCH=lock)

# The first interpreter found that the lock covers (3.11 to 3.13). Override: make PYTHON=/path/to/python
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11; do \
	"$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo "$$candidate" && break; done)
TORCH ?= $(if $(wildcard .venv/.installed-on-system-torch),system,lock)
ifeq (,$(filter $(TORCH),lock system))
$(error TORCH is "$(TORCH)"; expected "lock", the torch of envs/requirements.lock, or "system", the torch that PYTHON has)
endif
BIN := .venv/bin
INSTALLED := .venv/.installed$(if $(filter system,$(TORCH)),-on-system-torch)
FOR_TESTS := .venv/.installed-for-tests
INSTALL := $(BIN)/python envs/install.py $(BIN)/pip
INSTALL_THIS := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
WORKERS ?= 2
# Of test-faults, whose tests wait for SLURM half of the time.
FAULT_WORKERS ?= 3
PYTEST := $(BIN)/pytest --dist loadgroup --no-loadscope-reorder --durations 40 --durations-min 5 --numprocesses

# Snakemake keeps sources in the home's .cache and cannot start where nothing can be written there; then it does so here.
CACHE := $(or $(XDG_CACHE_HOME),$(if $(HOME),$(HOME)/.cache))
ifneq (,$(CACHE))
ifeq (,$(shell mkdir -p "$(CACHE)" 2>/dev/null && test -w "$(CACHE)" && echo yes))
export XDG_CACHE_HOME := $(CURDIR)/.cache
endif
endif

REQUIRE_PYTHON = @test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 on PATH; install one or run: make PYTHON=/path/to/python3" >&2; exit 1; }

.DELETE_ON_ERROR:
.PHONY: study setup setup-tests plan why help check docs test test-unit test-faults test-all test-search schema lock clean

# Snakemake reads the file of a study itself before the Snakefile does, and a file that is no UTF-8 is a traceback to it.
OF_STUDY = $(if $(STUDY),file=$$(PYTHONPATH=. $(BIN)/python -m mcoherence.study.config_files '$(STUDY)') &&)
CONFIGFILE = $(if $(STUDY),--configfile "$$file")

study: $(INSTALLED)
	@$(OF_STUDY) $(BIN)/snakemake --cores all --quiet reason host $(CONFIGFILE)

setup: $(INSTALLED)

setup-tests: $(FOR_TESTS)

plan: $(INSTALLED)
	@$(OF_STUDY) $(BIN)/snakemake --cores 1 --quiet all $(CONFIGFILE) -- plan

why: $(INSTALLED)
	@$(OF_STUDY) PYTHONPATH=. $(BIN)/python -m workflow_scripts.why $(CONFIGFILE)

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

check: $(FOR_TESTS)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/snakefmt --check Snakefile rules
	@$(BIN)/snakemake --lint

# Bring the config's schema and the documentation up to date with the tables in the code that they follow from.
schema: $(INSTALLED)
	@PYTHONPATH=. $(BIN)/python -m workflow_scripts.write_schema

# Strict: what Sphinx warns of ends it. Nothing is fetched, neither now nor by a page that is opened.
docs: $(FOR_TESTS)
	@PYTHONPATH=. $(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --builder html docs site
	@echo "open site/index.html"

test: check docs
	@MCOHERENCE_FAULTS=sample $(PYTEST) $(WORKERS) tests/workflow tests/faults tests/unit

test-unit: $(FOR_TESTS)
	@$(PYTEST) $(WORKERS) tests/unit

test-faults: $(FOR_TESTS)
	@$(PYTEST) $(FAULT_WORKERS) tests/cluster tests/faults

# What `make test` and `make test-faults` do, at once: what waits for SLURM leaves the processor to the rest. For CI, which
# asks for the sample of faults.
test-all: check docs
	@$(PYTEST) $(FAULT_WORKERS) tests/cluster tests/workflow tests/faults tests/unit

test-search: $(FOR_TESTS)
	@$(PYTEST) $(WORKERS) tests/search

.venv/.installed: envs/requirements.lock pyproject.toml
	$(REQUIRE_PYTHON)
	@test ! -e .venv/.installed-on-system-torch || rm -rf .venv
	$(PYTHON) -m venv .venv
	$(INSTALL) envs/requirements.lock
	$(INSTALL_THIS)
	@touch $@

# What PYTHON has is looked at from a throw-away environment first, so that nothing is lost where it does not do. What else
# it has is installed all the same, so that the study does not change with it.
.venv/.installed-on-system-torch: envs/requirements.lock envs/on_system_torch.py pyproject.toml
	$(REQUIRE_PYTHON)
	@trial=$$(mktemp -d) && trap 'rm -rf "$$trial"' EXIT \
		&& $(PYTHON) -m venv --without-pip --system-site-packages "$$trial" \
		&& "$$trial/bin/python" envs/on_system_torch.py envs/requirements.lock > "$$trial/without_torch.lock" \
		&& rm -rf .venv && $(PYTHON) -m venv --system-site-packages .venv && cp "$$trial/without_torch.lock" .venv
	$(INSTALL) .venv/without_torch.lock --ignore-installed
	$(INSTALL_THIS)
	@touch $@

$(FOR_TESTS): envs/test-requirements.lock $(INSTALLED)
	$(INSTALL) envs/test-requirements.lock
	@touch $@

# Resolve both lists again, the second with the versions of the first, for the platforms named in pyproject.toml; versions in
# the locks are kept where they fit. Needs uv on PATH.
RESOLVE := uv pip compile --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock'
lock:
	$(RESOLVE) envs/requirements.in --output-file envs/requirements.lock
	$(RESOLVE) --constraints envs/requirements.lock \
		$$(sed -n 's/^\([a-z0-9][a-z0-9._-]*\)==.*/--no-emit-package \1/p' envs/requirements.lock) \
		envs/test-requirements.in --output-file envs/test-requirements.lock

clean:
	rm -rf .venv
