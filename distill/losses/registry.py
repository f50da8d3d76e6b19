"""The losses that ``--method`` can name. Imports no loss and no torch."""

from __future__ import annotations

from distill.losses.spec import LossSpec
from distill.registry import Registry

__all__ = ["LABEL_LOSSES", "LOSSES"]

_TEACHER_LOSSES = {
    "absolute": "distill.losses.absolute:ABSOLUTE",
    "relative": "distill.losses.relative:RELATIVE",
    "relative_rms": "distill.losses.relative:RELATIVE_RMS",
    "hint": "distill.losses.hints:HINT",
    "hint_relative": "distill.losses.hints:HINT_RELATIVE",
    "attention": "distill.losses.attention:ATTENTION",
    "rkd": "distill.losses.rkd:RKD",
    "rkd_raw": "distill.losses.rkd:RKD_RAW",
    "rkd_distance": "distill.losses.rkd:RKD_DISTANCE",
    "rkd_angle": "distill.losses.rkd:RKD_ANGLE",
    "pkt": "distill.losses.pkt:PKT",
    "similarity_preserving": "distill.losses.similarity_preserving:SIMILARITY_PRESERVING",
    "relaxed_contrastive": "distill.losses.relaxed_contrastive:RELAXED_CONTRASTIVE",
    "relaxed_contrastive_raw": "distill.losses.relaxed_contrastive:RELAXED_CONTRASTIVE_RAW",
    "raml": "distill.losses.raml:RAML",
    "csd": "distill.losses.csd:CSD",
    "d3still": "distill.losses.d3still:D3STILL",
}

# A table of its own: the help text of `distill-train teacher` lists these without importing a loss.
LABEL_LOSSES = {
    "triplet": "distill.losses.metric:TRIPLET",
    "triplet_semihard": "distill.losses.metric:TRIPLET_SEMIHARD",
    "multi_similarity": "distill.losses.metric:MULTI_SIMILARITY",
    "proxy_anchor": "distill.losses.metric:PROXY_ANCHOR",
    "contrastive": "distill.losses.metric:CONTRASTIVE",
}

LOSSES: Registry[LossSpec] = Registry(
    "loss", LossSpec, {**_TEACHER_LOSSES, **LABEL_LOSSES}, group="distill_to_phone.losses"
)
