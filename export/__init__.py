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
    "Bundle": "export.bundle",
    "ExportOptions": "export.attempt",
    "VariantRunner": "export.bundle",
    "export_bundle": "export.pipeline",
    "load_bundle": "export.bundle",
    "open_variant": "export.bundle",
}

if not TYPE_CHECKING:  # a type checker reads the imports above

    def __getattr__(name):
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
