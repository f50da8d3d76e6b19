"""Command-line flags and recipes, made from the fields of option models.

An option is one line, ``name: type = option(default, help, panel)``, in a pydantic model: it is then a flag, a key of
recipes, and an argument in Python. A flag overrides the recipe, the recipe overrides the default. The models are
:class:`distill.training.config.RunConfig`, :class:`export.options.ExportOptions`,
:class:`benchmark.options.BenchmarkOptions`, :class:`benchmark.options.PlanOptions`, the limits and the device options.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

import typer
from pydantic import Field, ValidationError

from distill.console import Failure, UsageFailure, suggest

__all__ = [
    "Recipe",
    "RecipeOption",
    "make_options",
    "open_recipe",
    "option",
    "option_name",
    "read_recipe",
    "with_flags",
]

Kind = TypeVar("Kind")
RecipeOption = Annotated[Path | None, typer.Option("--recipe", help="YAML file of options; flags override it.")]


def option(default: Any, help_text: str, panel: str, flag: str = "", parse_as: Any = None, **limits: Any) -> Any:
    """Return a field of an option model that is also a flag.

    Args:
        default: its value without the flag; ``None``: chosen later, the help text says how.
        help_text: for ``--help``.
        panel: heading under which ``--help`` lists it.
        flag: as typer writes it (``--from``, ``--storage/--no-storage``). Default: the field's name; a bool also has
            ``--no-NAME``.
        parse_as: the type that typer parses, where the field's own is none for a command line.
        limits: of pydantic, e.g. ``ge=0``.
    """
    extra = {"panel": panel, "flag": flag, "parse_as": parse_as}
    return Field(default, description=help_text, json_schema_extra=extra, **limits)


def with_flags(*kinds: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds one flag for each option of the models ``kinds`` to a typer command.

    The flags take the place of the command's parameter ``given: dict[str, Any]``, which receives those that the user
    set, by the names of the fields.
    """
    fields = {name: each for kind in kinds for name, each in _fields(kind).items()}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        parameters = inspect.signature(command, eval_str=True).parameters

        def wrapped(context: typer.Context, **values: Any) -> Any:
            given = {name: values.pop(name) for name in fields}
            given = {name: value for name, value in given.items() if _is_set(context, name)}
            return command(**values, given=given)

        shown = [inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
        for name, parameter in parameters.items():
            flags = [_parameter(*each) for each in fields.items()]
            shown += flags if name == "given" else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
        wrapped.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in shown}
        wrapped.__name__ = command.__name__
        wrapped.__doc__ = command.__doc__
        return wrapped

    return decorate


def _fields(kind: type) -> dict[str, Any]:
    """Return the fields of a pydantic model or dataclass that were made with :func:`option`."""
    return {
        name: each
        for name, each in kind.__pydantic_fields__.items()  # type: ignore[attr-defined]
        if isinstance(each.json_schema_extra, dict) and "panel" in each.json_schema_extra
    }


def _is_set(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _parameter(name: str, field_info: Any) -> inspect.Parameter:
    extra = field_info.json_schema_extra
    kind = extra.get("parse_as") or _plain(field_info.annotation)
    several = typing.get_origin(kind) is list
    default = None if several or isinstance(field_info.default, tuple) else field_info.default
    flag = extra.get("flag") or _default_flag(name, kind)
    choices = _choices(field_info.annotation)
    settings = typer.Option(
        flag,
        help=field_info.description,
        show_default=default is not None,
        rich_help_panel=extra["panel"],
        autocompletion=(lambda: choices) if choices else None,
    )
    kind = kind if default is not None else kind | None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, settings]
    )


def _choices(annotation: Any) -> list[str]:
    """Return the words that shell completion offers."""
    return [str(word) for word in typing.get_args(annotation)] if typing.get_origin(annotation) is Literal else []


def _default_flag(name: str, kind: Any) -> str:
    dashed = name.replace("_", "-")
    return f"--{dashed}/--no-{dashed}" if kind is bool else f"--{dashed}"


def _plain(annotation: Any) -> Any:
    """Return the type for typer to parse. Pydantic checks choices and limits, so that all messages look alike."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _plain(typing.get_args(annotation)[0])
    if origin is Literal:
        return str
    if origin is tuple:
        return list[typing.get_args(annotation)[0]]  # type: ignore[misc]
    if origin in (Union, types.UnionType):
        repeated = [a for a in typing.get_args(annotation) if typing.get_origin(a) is tuple]
        if repeated:  # one or several
            return list[typing.get_args(repeated[0])[0]]  # type: ignore[misc]
        return _plain(next(a for a in typing.get_args(annotation) if a is not type(None)))
    return annotation


def option_name(name: str, field_info: Any) -> str:
    """Return the name of an option in recipes: that of its flag, with underscores.

    >>> from pydantic import BaseModel
    >>> class Model(BaseModel):
    ...     source: str = option("pixels", "What the device gets.", "Images", flag="--from")
    >>> option_name("source", Model.model_fields["source"])
    'from'
    """
    extra = field_info.json_schema_extra
    flag = extra.get("flag", "") if isinstance(extra, dict) else ""
    return flag.partition("/")[0].removeprefix("--").replace("-", "_") or name


@dataclass(frozen=True)
class Recipe:
    """Options from a file: its path, and the values by field names."""

    source: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


def open_recipe(path: Path | None, *kinds: type) -> Recipe:
    """Read a recipe with options of the models ``kinds``; without a path it is empty.

    Raises:
        Failure, UsageFailure: as :func:`read_recipe`; an unknown option.
    """
    if path is None:
        return Recipe()
    names = {option_name(name, each): name for kind in kinds for name, each in _fields(kind).items()}
    values = {}
    for name, value in read_recipe(path).items():
        if name not in names:
            raise UsageFailure(f"{path}: unknown option '{name}'", suggest(name, names))
        values[names[name]] = value
    return Recipe(str(path), values)


def make_options(kind: type[Kind], given: Mapping[str, Any], recipe: Recipe = Recipe(), **more: Any) -> Kind:
    """Make an option model from flags, a recipe and values that are no options.

    Args:
        kind: the model. Options of other models in ``given`` and ``recipe`` are left alone.
        given: the flags that were set, by names of fields.
        recipe: options that ``given`` overrides.
        more: other fields of the model.

    Raises:
        UsageFailure: a value out of range; the message names the flag, and the recipe if it stands there.
    """
    fields = _fields(kind)
    values = {name: value for name, value in {**recipe.values, **given}.items() if name in fields}
    try:
        return kind(**values, **more)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        where = f"{recipe.source}: " if recipe.source and name not in given else ""
        flag = "--" + (option_name(name, fields[name]) if name in fields else name).replace("_", "-")
        raise UsageFailure(f"{where}{flag} {first['input']}: {_says(first)}", _cure(first, flag)) from None


def _says(error: Any) -> str:
    text = error["msg"].removeprefix("Value error, ")
    return text[0].lower() + text[1:]


def _cure(error: Any, flag: str) -> str:
    """Return the nearest choice, or where to look."""
    if error["type"] == "literal_error":
        choices = [word.strip("'") for word in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        near = suggest(str(error["input"]), choices)
        if near.startswith("did you mean"):
            return near
    return f"see --help for {flag}"


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
        raise Failure(f"{path}: {error.strerror}", "check the path of --recipe") from None
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise Failure(
            f"{path}: not YAML: {' '.join(str(error).split())}", "write one 'option: value' on each line"
        ) from None
    if not isinstance(values, dict) or any(not isinstance(key, str) for key in values):
        raise UsageFailure(f"{path}: a recipe is a list of options", "write one 'option: value' on each line")
    return {key.replace("-", "_"): value for key, value in values.items()}
