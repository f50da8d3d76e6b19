"""Stage 2: checkpoint to bundle. ``export.bundle`` reads a bundle without torch or tensorflow.

The names below are the public Python interface (``docs/api``). They are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.lazy import lazy_names

if TYPE_CHECKING:
    from export.bundle import Bundle, VariantRunner, load_bundle, open_variant
    from export.options import ExportOptions
    from export.pipeline import export_bundle

__all__ = ["Bundle", "ExportOptions", "VariantRunner", "export_bundle", "load_bundle", "open_variant"]

_HOMES = {
    "Bundle": "export.bundle",
    "ExportOptions": "export.options",
    "VariantRunner": "export.bundle",
    "export_bundle": "export.pipeline",
    "load_bundle": "export.bundle",
    "open_variant": "export.bundle",
}

if not TYPE_CHECKING:  # a type checker reads the imports above
    __getattr__ = lazy_names(__name__, _HOMES)
