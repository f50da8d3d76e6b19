"""A bundle: a folder with model files, golden vectors and all that an app must know to use them.

Nothing here needs torch or tensorflow: ``load_bundle`` reads and checks, ``open_variant`` runs.
"""

from export.bundle.read import Bundle, load_bundle
from export.bundle.runtime import VariantRunner, open_variant
from export.bundle.schema import BUNDLE_FILE, SCHEMA_VERSION, Manifest, Variant

__all__ = [
    "BUNDLE_FILE",
    "SCHEMA_VERSION",
    "Bundle",
    "Manifest",
    "Variant",
    "VariantRunner",
    "load_bundle",
    "open_variant",
]
