"""The names that ``--method`` takes, and what each needs. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["METHODS", "MethodSpec"]


@dataclass(frozen=True)
class MethodSpec:
    """One term that ``--method`` can name.

    Attributes:
        help: what it asks of the student, in a line.
        weight: the weight where none is written.
        teacher: needs the teacher's embeddings or maps.
        labels: needs labels; unlabelled images do not enter it.
        stages: ``"maps"`` works on stage maps, ``"optional"`` on them where stages are named and
            on embeddings otherwise, ``"none"`` on embeddings only.
        default_stages: stages taken where none is named.
        teacher_map: what of a teacher's map the loss looks at: ``whole``; ``grid``, its average over
            the cells of the student's map where that is coarser; ``attention``, of the latter only
            the mean square over channels.
        space: ``"teacher"`` where it ties the student's space to the teacher's, so that student
            queries can search a gallery that the teacher indexed.
        views: crops of each image in a batch that it is meant for.
    """

    help: str
    weight: float = 1.0
    teacher: bool = True
    labels: bool = False
    stages: Literal["none", "optional", "maps"] = "none"
    default_stages: tuple[int, ...] = ()
    teacher_map: Literal["whole", "grid", "attention"] = "whole"
    space: Literal["teacher", "own"] = "own"
    views: int = 1


def _metric(help_text: str) -> MethodSpec:
    return MethodSpec(help_text, teacher=False, labels=True)


METHODS: MappingProxyType[str, MethodSpec] = MappingProxyType(
    {
        "absolute": MethodSpec("the teacher's embedding of the same image", 1.0, space="teacher"),
        "relative": MethodSpec("the teacher's distances between images (Frobenius norm, as published)", 0.3),
        # 0.3 at the paper's batch of 32: weight of the RMS form = n · weight of the Frobenius form.
        "relative_rms": MethodSpec("the same, independent of the batch size", 9.6),
        "hint": MethodSpec(
            "the teacher's stage maps, through a learned 1×1 adaptor",
            stages="maps",
            default_stages=(2, 3, 4),
            teacher_map="grid",
        ),
        "hint_relative": MethodSpec(
            "the distances between the teacher's stage maps",
            stages="maps",
            default_stages=(2, 3, 4),
            teacher_map="grid",
        ),
        "attention": MethodSpec(
            "where the teacher's stages are active", stages="maps", default_stages=(2, 3, 4), teacher_map="attention"
        ),
        "rkd": MethodSpec("the teacher's distances (up to scale) and angles: rkd_distance + 2·rkd_angle"),
        "rkd_distance": MethodSpec("the teacher's distances up to scale"),
        "rkd_angle": MethodSpec("the teacher's angles between triples of images", 2.0),
        "pkt": MethodSpec("the teacher's probabilities of neighbours"),
        "similarity_preserving": MethodSpec("the teacher's similarity matrix, row by row", stages="optional"),
        "relaxed_contrastive": MethodSpec("the teacher's similarities as soft labels of pairs", views=2),
        "raml": MethodSpec("the teacher's embedding and its similarities", space="teacher", views=2),
        "triplet": _metric("batch-hard triplets, margin 0 (the paper's)"),
        "triplet_semihard": _metric("semi-hard triplets, margin 0.2"),
        "multi_similarity": _metric("weighted hard pairs"),
        "proxy_anchor": _metric("a learned proxy per class"),
        "contrastive": _metric("pairs together or a margin apart"),
    }
)
