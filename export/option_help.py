"""Help texts of ``distill-export run`` that depend on the registered formats, targets and repairs."""

from __future__ import annotations

from collections.abc import Iterable

from export.int8.repair.methods import AUTO, METHODS
from export.targets import AUTO_IO, all_targets

__all__ = ["option_help", "schemes_help"]


def option_help() -> dict[str, str]:
    """Return the help of ``--target``, ``--quantize``, ``--io`` and ``--repair``, by the name of the parameter."""
    rows = all_targets()
    choices = [row for row in rows if row.input_type]
    formats = (f"{row.format} (only by name)" if row.optional else row.format for row in rows)
    auto = (f"{row.input_type} for {row.quantize}" for row in choices if row.io_auto)
    repairs = (f"{name} ({method.help})" if method.help else name for name, method in METHODS.items())
    types = _unique(row.input_type for row in choices if row.input_type)
    return {
        "target": f"Formats: {_unique(formats)}, all, or several, comma-separated.",
        "quantize": f"Quantization schemes: {_unique(row.quantize for row in rows)}, all, or several, comma-separated.",
        "io": f"Input and output type of quantized {_unique(row.format for row in choices)} files: {AUTO_IO} "
        f"({_unique(auto)}), {types}, all.",
        "repair": f"Before quantization: {_unique(repairs)}, {AUTO}.",
    }


def schemes_help() -> str:
    """Return one Markdown list item for each scheme that has a summary."""
    summaries: dict[str, str] = {}
    for row in all_targets():
        if row.summary:
            summaries.setdefault(row.quantize, row.summary)
    return "\n".join(f"- **{name}**: {summary}" for name, summary in summaries.items())


def _unique(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))
