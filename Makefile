# Whichever of these is there; PYTHON=... chooses another.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13,$(shell $(name) -c "print('$(name)')" 2>/dev/null)) python3)
VENV := .venv
BIN := $(VENV)/bin
DEMO := results/demo

.PHONY: demo test check format clean

$(VENV)/runtime: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,contrib,box2d,mujoco,minatar,export]"
	touch $(VENV)/runtime $@

demo: $(VENV)/runtime  ## dense PPO agents, tickets, control, table, plot: under 4 minutes on 2 cores
	$(BIN)/python scripts/cartpole.py --seeds 10 --dense-seeds 20 --levels 5 --timesteps 20000 --searches imp random_reinit --out $(DEMO)

test: $(VENV)/dev  ## every test
	$(BIN)/pytest -n 3 --dist worksteal

check: $(VENV)/dev  ## format, lint, types, layers, then every test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 3 --dist worksteal

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(DEMO) *.egg-info
