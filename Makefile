# Three commands do all:
#   make demo     set up, then: pictures -> teacher -> student -> ONNX and TFLite -> report
#   make test     set up, then run every test
#   make android  set up, then: bundle -> gallery -> signed APK in android_demo/build
#                 (BUNDLE=folder GALLERY=file; else what make demo left, else a small model made at once)
# On a folder of photos (one folder a class):
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

.PHONY: demo test android clean

demo: .venv/ready
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/demo.sh "$(OUT)" "$(DATA)" \
		"--recipe $(TEACHER_RECIPE) $(TEACHER)" "--recipe $(STUDENT_RECIPE) $(STUDENT)" "$(ALONE)"

test: .venv/ready
	$(BIN)/python -m pytest

android: .venv/ready
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/android.sh "$(BUNDLE)" "$(GALLERY)"

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import shutil, sys; free = shutil.disk_usage(".").free / 1e9; sys.exit(f"{free:.1f} GB free here, and the install takes 9 GB and some more on the way: free some space" if free < 10 else 0)'
	$(PYTHON) -m venv .venv
	@echo "installing torch, tensorflow and the rest into .venv (some minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Leaves runs/: what was trained took longer than an install.
clean:
	rm -rf .venv build *.egg-info android_demo/build android_demo/*/target
