# Every target makes ready what it needs (.venv, packages, browser) and is quick when that is there.
# PYTHON=python3.12 chooses the Python of a new .venv; ARGS="..." goes to the program, TESTS="..." to pytest.

ifneq ($(origin PYTHON),undefined)
export PYTHON
endif
PY := .venv/bin/python
WORKERS ?= 2
TESTS ?=

.DEFAULT_GOAL := help
.PHONY: help setup kernel run test check format bench fidelity test-crash test-clients test-clients-large web lock \
  check-wheels clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## everything for development: .venv, packages, Chromium
	@scripts/setup.sh dev
	@scripts/setup.sh browser

kernel: ## builds the risk book's compiled kernel anew, or says why it cannot (setup tries it too)
	@scripts/setup.sh kernel

run: ## the demo: simulator, engine and dashboard (ARGS="--seconds 30 --port 3901")
	@scripts/setup.sh run
	@exec .venv/bin/pms up --demo $(ARGS)

test: setup ## all tests, with servers and a browser of their own (TESTS="tests/unit/risk -k gate")
	@$(PY) -m pytest -n $(WORKERS) --dist loadscope $(TESTS)

check: ## style, types, imports, the project's own rules, the built dashboard
	@scripts/setup.sh dev
	@scripts/check.sh

format: ## rewrites the sources in the project's style
	@scripts/setup.sh dev
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

bench: ## benchmarks (ARGS="...")
	@scripts/setup.sh dev
	@$(PY) -m bench $(ARGS)

fidelity: ## simulated fills against recorded tapes: docs/fidelity.md (ARGS="--print FILE.jsonl.gz")
	@scripts/setup.sh dev
	@$(PY) -m bench.fidelity $(ARGS)

test-crash: ## kill -9 at every step of an order's life, then at many moments under load (ARGS="--rounds 200")
	@scripts/setup.sh dev
	@$(PY) -m tests.crash.points
	@$(PY) -m tests.crash.points --postgres
	@$(PY) -m tests.crash $(or $(ARGS),--rounds 200)

test-clients: ## ccxt, python-binance and Binance's SDK trade on the simulator (ARGS="ccxt" for one)
	@scripts/setup.sh uv
	@$(PY) -m tests.clients $(ARGS)

test-clients-large: ## these and NautilusTrader, freqtrade, npm binance; writes the table of docs/clients.md
	@scripts/setup.sh uv
	@$(PY) -m tests.clients --large --table docs/clients.md $(ARGS)

web: ## builds web/ into src/pms/web (needs Node)
	@scripts/setup.sh web
	@cd web && npm run --silent build -- --logLevel warn

lock: ## writes requirements/*.lock anew (ARGS=--upgrade takes newer versions)
	@scripts/lock.sh $(ARGS)

check-wheels: ## the locked packages are wheels on Python 3.11 to 3.14
	@scripts/check_wheels.sh

clean: ## removes what make made, but not the data of the demo
	rm -rf .venv .venv-clients web/node_modules .mypy_cache .ruff_cache .import_linter_cache .hypothesis build src/*.egg-info
	rm -f src/pms/risk/_kernel.c src/pms/risk/_kernel.*.so src/pms/risk/_kernel.*.pyd
