#   make demo     set up, then: images -> teacher -> student -> ONNX and TFLite -> report
#   make test     set up, then run every test
#   make lint     set up, then ruff (check and format) and mypy
#   make docs     set up, then build the documentation site in build/site
#   make android  set up, then: bundle -> gallery -> signed APK in android_demo/build
#                 (BUNDLE=folder GALLERY=file; default: the output of make demo, else a small model made on the spot)
# On a folder of your own photos (one folder per class):
#   make demo DATA=folder:photos TEACHER="--weights imagenet" STUDENT="--weights imagenet"

PYTHON ?= python3
DATA ?= glyphs
OUT ?= runs/demo
TEACHER_RECIPE ?= recipes/glyphs-teacher.yaml
STUDENT_RECIPE ?= recipes/glyphs-student.yaml
TEACHER ?=
STUDENT ?=
ALONE ?=
BUNDLE ?=
GALLERY ?=
BIN := .venv/bin

.PHONY: demo test lint docs android clean

demo: .venv/ready
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/demo.sh "$(OUT)" "$(DATA)" \
		"--recipe $(TEACHER_RECIPE) $(TEACHER)" "--recipe $(STUDENT_RECIPE) $(STUDENT)" "$(ALONE)"

test: .venv/ready
	$(BIN)/python -m pytest

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/ready
	$(BIN)/python scripts/docs.py build/site

android: .venv/ready
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/android.sh "$(BUNDLE)" "$(GALLERY)"

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is required: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import shutil, sys; free = shutil.disk_usage(".").free / 1e9; sys.exit(f"only {free:.1f} GB of disk space are free here; the install takes 9 GB, and more while it runs: free some space" if free < 10 else 0)'
	$(PYTHON) -m venv .venv
	@echo "installing torch, tensorflow and the other dependencies into .venv (a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Keeps runs/: training takes longer than an install.
clean:
	rm -rf .venv build *.egg-info android_demo/build android_demo/*/target
