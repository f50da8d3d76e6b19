"""Checks the values of a parsed command line that the commands themselves check only when they begin to work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.devices import DEVICES
from benchmark.devices.spec import DELEGATES
from distill.console import Failure, UsageFailure
from distill.data.spec import open_data
from distill.losses.method import parse_method
from distill.models.registry import BACKBONES
from distill.options import read_recipe
from distill.recipe_files import find_recipe, shipped_recipes
from distill.training.config import StudentConfig, TeacherConfig, make_config
from export.int8.repair.methods import AUTO, METHODS
from export.targets import select_targets

CONFIGS = {"teacher": TeacherConfig, "student": StudentConfig}


def bad_value(command: str, values: dict[str, Any]) -> str:
    """Return what is wrong with the values of a command, or an empty string. Files need not exist.

    Args:
        command: name of the subcommand.
        values: parameter → value, as typer parsed them; ``None`` if not given.
    """
    given = {name: value for name, value in values.items() if value is not None}
    try:
        for name in {"data", "calibration_data", "unlabelled"} & given.keys():
            _check_data(given[name])
        if command in CONFIGS and "out" in given:
            _check_training(command, given)
        if {"target", "quantize", "io"} <= given.keys():
            select_targets(given["target"], given["quantize"], given["io"])
        if given.get("repair") not in (None, AUTO, *METHODS):
            return f"--repair {given['repair']}: no such repair"
        if "device" in given and given["device"].partition(":")[0] not in DEVICES:
            return f"--device {given['device']}: no such device"
        if given.get("delegate") not in (None, *DELEGATES):
            return f"--delegate {given['delegate']}: no such delegate"
    except UsageFailure as failure:
        return str(failure)
    return ""


def _check_data(spec: Any) -> None:
    try:
        open_data(str(spec))
    except UsageFailure:
        raise
    except Failure:
        pass  # the images of an example do not exist


def _check_training(command: str, given: dict[str, Any]) -> None:
    config_type = CONFIGS[command]
    options = {name: value for name, value in given.items() if name in config_type.model_fields}
    recipe = given.get("recipe")
    if recipe is not None and str(recipe) != "mine.yaml":  # the reader's own
        path = find_recipe(Path(recipe))
        if path not in shipped_recipes().values() and not path.exists():
            raise UsageFailure(f"--recipe {recipe}: no such recipe")
        options = read_recipe(path) | options
    config = make_config(config_type, options)
    parse_method(config.method)
    if not config.arch.startswith("timm:"):
        BACKBONES[config.arch]
