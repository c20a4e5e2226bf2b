# make demo: the main job on a fresh machine. make test: the tests. Each makes its own .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench clean

demo: $(VENV)/demo.installed
	$(BIN)/python demo/demo.py

test: $(VENV)/dev.installed
	$(BIN)/python -m pytest

lint: $(VENV)/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/dev.installed
	$(BIN)/python benchmarks/end_to_end.py

clean:
	rm -rf $(VENV) build *.egg-info demo-output .mypy_cache .pytest_cache .ruff_cache

# One marker for each set of extras, remade when what it installs has changed.
$(VENV)/%.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing postfilter[$*] into $(VENV): some minutes the first time"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
