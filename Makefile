# The doors of the house. Each works on a bare Debian 12 machine as root and may be called again at any time.
#
#   make setup   installs what Assize needs: Debian packages, Python, Kafka, language images (cached for the next clone)
#   make demo    starts everything and judges the example programs; leaves the stack running
#   make down    stops the stack: no process, mount, container or network of ours stays
#   make check   formatting, lints, types, rooms, the runner's warnings, unit and contract tests: under a minute
#   make test    every test there is, on real Kafka, PostgreSQL and Docker
#   make bench   the measurements, each with the limit it is held against
.POSIX:
.DELETE_ON_ERROR:
.PHONY: setup setup-tests demo down test check bench

BIN = .venv/bin
RUNNER = services/executor/runner

setup:
	@sh deploy/local/setup.sh
	@$(MAKE) --no-print-directory -s -C $(RUNNER)

setup-tests:
	@sh deploy/local/setup.sh --tests
	@$(MAKE) --no-print-directory -s -C $(RUNNER)

demo: setup
	@$(BIN)/assize demo

down:
	@if [ -x $(BIN)/assize ]; then $(BIN)/assize down; else echo "nothing to stop: this checkout was never set up"; fi

check: setup-tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory -s -C $(RUNNER) check
	@$(BIN)/pytest -q tests/unit tests/contract

test: setup-tests
	@$(BIN)/pytest tests

bench: setup-tests
	@$(BIN)/python -m bench
