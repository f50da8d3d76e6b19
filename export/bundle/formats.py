"""The registry of model file formats."""

from __future__ import annotations

from distill.registry import Registry
from export.bundle.engines.base import Format
from export.bundle.engines.open import BUILTIN

__all__ = ["FORMATS", "Format"]

FORMATS: Registry[Format] = Registry("format", Format, BUILTIN, group="distill_to_phone.formats")
