# Tasks for people who change saescope. PYTHON is that of an environment with saescope and its tests:
#   python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e '.[all,test]'
# Without make, run the lines themselves.

PYTHON ?= .venv/bin/python

.PHONY: quick all lint docs

# Every package in a minute or so, on two cores.
quick:
	$(PYTHON) -m pytest -q -n 2 --dist loadgroup -m quick

# The whole suite, on all cores. The browser tests are skipped where there is no Chromium.
all:
	$(PYTHON) -m pytest -n logical --dist loadgroup

# What a change must satisfy before its tests run.
lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

# The documents against the code: every command, option, column, metric, format and link that they name.
docs:
	$(PYTHON) -m pytest -q -m docs
