"""Stage 2: checkpoint to bundle. ``export.bundle`` reads a bundle without torch or tensorflow.

The names below are the public Python interface (``docs/api``). They are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.attempt import ExportOptions
    from export.bundle import Bundle, VariantRunner, load_bundle, open_variant
    from export.pipeline import export_bundle

__all__ = ["Bundle", "ExportOptions", "VariantRunner", "export_bundle", "load_bundle", "open_variant"]

_HOMES = {
    "Bundle": "export.bundle:Bundle",
    "ExportOptions": "export.attempt:ExportOptions",
    "VariantRunner": "export.bundle:VariantRunner",
    "export_bundle": "export.pipeline:export_bundle",
    "load_bundle": "export.bundle:load_bundle",
    "open_variant": "export.bundle:open_variant",
}

if not TYPE_CHECKING:  # a type checker reads the imports above

    def __getattr__(name):
        if name in _HOMES:
            module, _, attribute = _HOMES[name].partition(":")
            return getattr(import_module(module), attribute)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
