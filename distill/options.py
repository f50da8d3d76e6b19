"""Command-line flags and recipes, made from the fields of a configuration.

One list of options serves flags, recipes and saved runs: a field of
:class:`distill.training.config.RunConfig` is a flag and a key of a recipe. A flag overrides the recipe, the
recipe overrides the default.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import typer
from pydantic import BaseModel

from distill.console import Failure, UsageFailure

__all__ = ["read_recipe", "with_flags"]


def with_flags(config: type[BaseModel]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds one flag for each field of ``config`` to a typer command.

    The command receives the flags that the user set as ``given: dict[str, Any]``.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        parameters = inspect.signature(command, eval_str=True).parameters
        kept = [parameter for name, parameter in parameters.items() if name != "given"]

        def wrapped(**values: Any) -> Any:
            given = {n: values.pop(n) for n in config.model_fields if values.get(n) is not None}
            for name in config.model_fields:
                values.pop(name, None)
            return command(**values, given=given)

        flags = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_flag(name, field))
            for name, field in config.model_fields.items()
        ]
        kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in kept]
        wrapped.__signature__ = inspect.Signature([*kept, *flags])  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in [*kept, *flags]}
        wrapped.__name__ = command.__name__
        wrapped.__doc__ = command.__doc__
        return wrapped

    return decorate


def _flag(name: str, field: Any) -> Any:
    flag = "--" + name.replace("_", "-")
    kind = _plain(field.annotation)
    names = [f"{flag}/--no-{name.replace('_', '-')}"] if kind is bool else [flag]
    shown = None if field.default is None else str(field.default)
    extra = field.json_schema_extra or {}
    option = typer.Option(
        *names, help=field.description, show_default=shown or False, rich_help_panel=extra.get("panel")
    )
    return Annotated[kind | None, option]


def _plain(annotation: Any) -> Any:
    """Return the type for typer to parse. Pydantic checks choices and limits, so that all messages look alike."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _plain(typing.get_args(annotation)[0])
    if origin is Literal:
        return str
    if origin in (Union, types.UnionType):
        return _plain(next(a for a in typing.get_args(annotation) if a is not type(None)))
    return annotation


def read_recipe(path: Path) -> dict[str, Any]:
    """Read options from a YAML recipe, a flat mapping of option names to values.

    Raises:
        Failure: the file is missing or not YAML.
        UsageFailure: the file is not such a mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", "check --recipe, or see `distill-train recipes`") from None
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise Failure(
            f"{path}: not YAML: {' '.join(str(error).split())}", "`distill-train recipes NAME` prints an example"
        ) from None
    if not isinstance(values, dict) or any(not isinstance(key, str) for key in values):
        raise UsageFailure(
            f"{path}: a recipe is a list of 'option: value' lines", "`distill-train recipes NAME` prints an example"
        )
    return {key.replace("-", "_"): value for key, value in values.items()}
