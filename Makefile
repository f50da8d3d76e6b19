#   make demo     set up, then: images -> teacher -> student -> ONNX and TFLite -> report
#   make test     set up, with the test tools, then run every test (TESTS="tests/export -m 'not slow'": these)
#   make lint     set up, then ruff (check and format) and mypy
#   make docs     set up, then build the documentation site in build/site
#   make android  set up, then: bundle -> gallery -> signed APK in android_demo/build
#                 (BUNDLE=folder GALLERY=file; default: the output of make demo, else a small model made on the spot)
# On a folder of your own photos (one folder per class; without class folders, see docs/guide.md):
#   make demo DATA=folder:photos OUT=runs/photos TEACHER_RECIPE=photos-teacher STUDENT_RECIPE=photos-student
# The install (docs/install.md):
#   PYTHON=python3.13   default: python3, or the python3.13, 3.12 or 3.11 that is there
#   PINS=card|current   the set of versions; default: card on Python 3.11, else current
#   TORCH_INDEX=URL     take torch from this package index, e.g. PyTorch's for computers without an NVIDIA GPU
#   VENV=folder         the environment; default: .venv

PYTHON ?=
PINS ?=
TORCH_INDEX ?=
VENV ?= .venv
TESTS ?=
DATA ?= glyphs
OUT ?= runs/demo
TEACHER_RECIPE ?= recipes/glyphs-teacher.yaml
STUDENT_RECIPE ?= recipes/glyphs-student.yaml
TEACHER ?=
STUDENT ?=
ALONE ?=
BUNDLE ?=
GALLERY ?=
BIN = $(VENV)/bin
# The other set of versions was asked for: install again.
OTHER = $(if $(PINS),$(filter-out $(PINS),$(shell cat $(VENV)/pins 2>/dev/null)))
INSTALL = python=$$(sh scripts/python.sh $(VENV) $(PYTHON)) && "$$python" scripts/install.py $(VENV) --python "$$python" \
	$(if $(PYTHON),--named) --pins "$(PINS)" --torch-index "$(TORCH_INDEX)"

.PHONY: demo test lint docs android clean again

demo: $(VENV)/demo
	@PATH="$(abspath $(BIN)):$$PATH" sh scripts/demo.sh "$(OUT)" "$(DATA)" \
		"--recipe $(TEACHER_RECIPE) $(TEACHER)" "--recipe $(STUDENT_RECIPE) $(STUDENT)" "$(ALONE)"

test: $(VENV)/ready
	$(BIN)/python -m pytest $(TESTS)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/ready
	$(BIN)/python scripts/docs.py build/site

android: $(VENV)/demo
	@PATH="$(abspath $(BIN)):$$PATH" sh scripts/android.sh "$(BUNDLE)" "$(GALLERY)"

# What the demo needs, and no test tool.
$(VENV)/demo: pyproject.toml constraints.txt constraints-current.txt overrides.txt $(if $(OTHER),again)
	@$(INSTALL) demo
	@touch $@

# The rest: what the tests, the linters and the documentation need. It contains the demo's.
$(VENV)/ready: pyproject.toml constraints.txt constraints-current.txt overrides.txt $(if $(OTHER),again)
	@$(INSTALL) dev
	@touch $@ $(VENV)/demo

# Keeps runs/: training takes longer than an install.
clean:
	rm -rf $(VENV) build *.egg-info android_demo/build android_demo/*/target
