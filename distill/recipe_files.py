"""The recipes that come with the project: YAML files of options, found by name.

A checkout holds them in ``recipes/`` beside this package, an installed wheel in ``distill/recipes/`` (``setup.py``).
"""

from __future__ import annotations

from pathlib import Path

from distill.console import Failure, UsageFailure, suggest

__all__ = ["find_recipe", "recipe_summary", "shipped_recipes"]

SUFFIX = ".yaml"


def shipped_recipes() -> dict[str, Path]:
    """Return the file of every recipe that comes with the project, by name, sorted."""
    package = Path(__file__).parent
    installed = package / "recipes"
    folder = installed if installed.is_dir() else package.parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def find_recipe(given: Path) -> Path:
    """Return the file that ``--recipe`` means: a path, or the name of a recipe that comes with the project.

    A file of the user wins over a name. A folder does not: a run may be called like its recipe.

    Raises:
        UsageFailure: no such name.
        Failure: no such file.
    """
    if given.exists() and not given.is_dir():
        return given
    recipes = shipped_recipes()
    name = str(given)
    if name in recipes:
        return recipes[name]
    if given.stem in recipes:  # recipes/photos-student.yaml, outside the checkout
        raise Failure(
            f"{given}: no such file", f"the recipe of this name comes with the project: --recipe {given.stem}"
        )
    if given.name == name and given.suffix != SUFFIX:
        raise UsageFailure(f"unknown recipe '{name}'", suggest(name, recipes))
    raise Failure(f"{given}: no such file", "check the path, or see `distill-train recipes`")


def recipe_summary(path: Path) -> str:
    """Return the first sentence of a recipe's comments, without the commands that stand above it."""
    comments = [line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    text = " ".join(line for line in comments if not line.startswith("distill-"))
    sentence, dot, _ = text.partition(". ")
    return sentence + dot.strip()
