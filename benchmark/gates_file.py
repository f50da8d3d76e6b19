"""Read limits from a file, so that a team can keep them beside its code."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.gates import Limits, make_limits
from distill.console import Failure, UsageFailure, suggest

__all__ = ["merge_limits", "read_gates"]

NAMES = list(Limits.model_fields)
EXAMPLE = 'lines such as max_latency_ms = 5, max_recall_drop = 1, candidate = "tflite-int8"'


def read_gates(path: Path) -> tuple[Limits, str | None]:
    """Return the limits and, if the file names one, the candidate.

    Args:
        path: TOML (``.toml``) or YAML (``.yaml``, ``.yml``): a flat table of the fields of
            :class:`Limits` (``-`` counts as ``_``) and ``candidate``.

    Raises:
        Failure: the file is missing, or not TOML or YAML; YAML without PyYAML.
        UsageFailure: an unknown name, an invalid value, or another suffix.
    """
    parse = PARSERS.get(path.suffix.lower())
    if parse is None:
        raise UsageFailure(f"--gates {path}: not a TOML or YAML file name", f"known: {', '.join(PARSERS)}")
    try:
        values = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Failure(f"{path}: no such file", "check the path of --gates") from None
    except UnicodeDecodeError:
        raise Failure(f"{path}: not text", EXAMPLE) from None
    except ValueError as error:
        raise Failure(f"{path}: {' '.join(str(error).split())}", EXAMPLE) from None
    if not isinstance(values, dict):
        raise UsageFailure(f"{path}: not a table of limits", EXAMPLE)
    limits: dict[str, Any] = {}
    candidate = None
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name == "candidate":
            if not isinstance(value, str):
                raise UsageFailure(f"{path}: candidate: {value!r} is not a variant name", EXAMPLE)
            candidate = value
        elif name not in NAMES:
            raise UsageFailure(f"{path}: {key}: no such limit", suggest(name, [*NAMES, "candidate"]))
        else:
            limits[name] = value
    return make_limits(limits, str(path)), candidate


def merge_limits(file: Limits, flags: Limits) -> Limits:
    """Return the file's limits, overridden by the flags."""
    return file.model_copy(update=flags.model_dump(exclude_none=True))


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise Failure(
            "YAML needs PyYAML, which is not installed", "write the limits as TOML, or pip install pyyaml"
        ) from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(error) from None


PARSERS: dict[str, Callable[[str], Any]] = {".toml": tomllib.loads, ".yaml": _yaml, ".yml": _yaml}
