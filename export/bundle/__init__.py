"""Read and run bundles: folders with model files, golden vectors and everything an app needs to use them.

:func:`load_bundle` reads and checks a bundle, :func:`open_variant` runs one of its models. Neither needs torch or
tensorflow.
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
