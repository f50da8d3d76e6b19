"""Checks the values of a parsed command line that the commands themselves check only when they begin to work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.devices import DEVICES
from benchmark.devices.spec import DELEGATES
from benchmark.options import BenchmarkOptions, PlanOptions
from distill.console import Failure, UsageFailure
from distill.data.spec import open_data
from distill.losses.method import parse_method
from distill.models.registry import BACKBONES
from distill.options import Recipe, make_options, open_recipe
from distill.recipe_files import find_recipe
from distill.training.config import StudentConfig, TeacherConfig
from export.int8.repair.methods import AUTO, METHODS
from export.options import ExportOptions
from export.targets import select_targets

CONFIGS = {"teacher": TeacherConfig, "student": StudentConfig}
DATA_OPTIONS = ("data", "calibration_data", "unlabelled")
MINE = Path("mine.yaml")  # a recipe that the reader of an example has written


def bad_value(context: Any) -> str:
    """Return what is wrong with the values of a command, or an empty string. Files need not exist.

    Args:
        context: of typer, after parsing: the command's name, its parameters, and which of them were given.
    """
    command, program = context.info_name or context.command.name, context.find_root().info_name
    given = {
        name: value for name, value in context.params.items() if context.get_parameter_source(name).name != "DEFAULT"
    }
    try:
        for name in DATA_OPTIONS:
            if name in given:
                _check_data(str(given[name]))
        if program == "distill-train" and command in CONFIGS:
            _check_training(CONFIGS[command], given)
        if program == "distill-export" and command == "run":
            _check_export(given)
        if program == "distill-bench" and command == "run":
            _check_benchmark(given)
    except UsageFailure as failure:
        return str(failure)
    return ""


def _check_data(spec: str) -> None:
    try:
        open_data(spec)
    except UsageFailure:
        raise
    except Failure:
        pass  # the images of an example do not exist


def _check_training(kind: Any, given: dict[str, Any]) -> None:
    recipe = given.get("recipe")
    if recipe is not None:
        try:
            recipe = None if recipe == MINE else find_recipe(recipe)
        except Failure as failure:
            raise UsageFailure(failure.what, failure.cure) from None
    config = make_options(kind, given, open_recipe(recipe, kind) if recipe else Recipe())
    parse_method(config.method)
    if not config.arch.startswith("timm:"):
        BACKBONES[config.arch]


def _check_export(given: dict[str, Any]) -> None:
    options = make_options(ExportOptions, given)
    select_targets(options.target, options.quantize, options.io)
    if options.repair != AUTO:
        METHODS[options.repair]


def _check_benchmark(given: dict[str, Any]) -> None:
    make_options(PlanOptions, given)
    options = make_options(BenchmarkOptions, given, bundle=Path("bundle"))
    DEVICES[options.device.partition(":")[0]]
    if options.delegate not in DELEGATES:
        raise UsageFailure(f"--delegate {options.delegate}: no such delegate")
