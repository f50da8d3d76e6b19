"""The grammar of ``--method``: a sum of named losses with weights and stages."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from distill.console.errors import UsageFailure, suggest
from distill.losses.registry import LOSSES
from distill.losses.spec import LossSpec, TeacherMap

__all__ = ["Method", "Term", "parse_method"]

STAGES = (1, 2, 3, 4)
_MAPS: tuple[TeacherMap, ...] = ("attention", "grid", "whole")  # each can be computed from the next
# A plus after a digit and an e belongs to a number (1e+3); any other joins terms.
_PLUS = re.compile(r"(?<![0-9.][eE])\+")
_TERM = re.compile(r"(?P<name>[^:@]*)(?::(?P<weight>[^:@]*))?(?:@(?P<stages>[^:@]*))?")
_EXAMPLE = "for example relative:0.3+hint:1@2,3,4+triplet:1"


@dataclass(frozen=True)
class Term:
    """One loss of a sum.

    Attributes:
        name: a name in :data:`distill.losses.registry.LOSSES`.
        weight: factor, above 0.
        stages: stages 1..4 that the loss works on, ascending; empty if it works on embeddings.
    """

    name: str
    weight: float
    stages: tuple[int, ...] = ()

    @property
    def spec(self) -> LossSpec:
        """The registered spec of this loss."""
        return LOSSES[self.name]

    def __str__(self) -> str:
        # No plus sign in the number: it would read as the next term.
        number = repr(self.weight).removesuffix(".0").replace("e+", "e")
        stages = "@" + ",".join(map(str, self.stages)) if self.stages else ""
        return f"{self.name}:{number}{stages}"


@dataclass(frozen=True)
class Method:
    """A sum of losses: ``Σ weight · term``. Its ``str()`` parses back to an equal method."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return "+".join(map(str, self.terms))

    @property
    def needs_teacher(self) -> bool:
        """Whether any term needs the teacher."""
        return any(term.spec.teacher for term in self.terms)

    @property
    def needs_labels(self) -> bool:
        """Whether any term needs labels."""
        return any(term.spec.labels for term in self.terms)

    @property
    def needs_stages(self) -> bool:
        """Whether any term needs stage maps, so that the teacher's stored embeddings do not suffice."""
        return any(term.stages for term in self.terms)

    @property
    def needs_raw(self) -> bool:
        """Whether any term works on the student's embeddings before their L2 norm."""
        return any(term.spec.student_rows == "raw" for term in self.terms)

    @property
    def teacher_maps(self) -> dict[int, TeacherMap]:
        """Stage → the reduction of the teacher's map that suffices for all terms (``LossSpec.teacher_map``)."""
        found: dict[int, TeacherMap] = {}
        for term in self.terms:
            for stage in term.stages:
                found[stage] = max(found.get(stage, _MAPS[0]), term.spec.teacher_map, key=_MAPS.index)
        return found

    @property
    def space(self) -> Literal["teacher", "own"]:
        """``"teacher"`` if any term ties the student's space to the teacher's."""
        return "teacher" if any(term.spec.space == "teacher" for term in self.terms) else "own"

    @property
    def views(self) -> int:
        """Crops of each image that a batch should hold."""
        return max(term.spec.views for term in self.terms)


def parse_method(text: str) -> Method:
    """Parse ``name[:weight][@stage,stage…]`` joined by ``+``; blanks are ignored.

    Args:
        text: e.g. ``"relative:0.3 + hint:1@2,3,4 + triplet"``. A missing weight or missing stages take
            the defaults of the loss's spec.

    Raises:
        UsageFailure: unknown or repeated name, weight that is not a finite number above 0, or stages
            that are out of 1..4, repeated, or given to a loss that takes none.

    Example:
        >>> str(parse_method("relative + hint:2 @ 4,3"))
        'relative:0.3+hint:2@3,4'
    """
    squeezed = "".join(text.split())
    if not squeezed:
        raise UsageFailure("--method is empty", _EXAMPLE)
    terms: list[Term] = []
    for part in _PLUS.split(squeezed):
        term = _parse_term(part, text)
        if any(term.name == earlier.name for earlier in terms):
            raise UsageFailure(
                f"--method {text}: '{term.name}' appears twice", "name it once, with the sum of the weights"
            )
        terms.append(term)
    return Method(tuple(terms))


def _parse_term(part: str, text: str) -> Term:
    match = _TERM.fullmatch(part)
    if match is None or not match["name"]:
        raise UsageFailure(f"--method {text}: cannot read '{part}'", _EXAMPLE)
    name = match["name"].lower().replace("-", "_")
    if name not in LOSSES:
        raise UsageFailure(f"--method {text}: unknown loss '{match['name']}'", suggest(name, LOSSES.names()))
    spec = LOSSES[name]
    return Term(name, _weight(match["weight"], spec.weight, name), _stages(match["stages"], spec, name))


def _weight(text: str | None, default: float, name: str) -> float:
    if text is None:
        return default
    try:
        # float("1_0") is valid Python, but no number that a user would write.
        weight = math.nan if "_" in text else float(text)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise UsageFailure(
            f"--method: weight '{text}' of {name} is not a number above 0",
            f"write {name}:{default:g}, or leave the term out",
        )
    return weight


def _stages(text: str | None, spec: LossSpec, name: str) -> tuple[int, ...]:
    if text is None:
        return spec.default_stages
    if spec.stages == "none":
        takers = ", ".join(loss for loss, its in LOSSES.items() if its.stages != "none")
        raise UsageFailure(
            f"--method: {name} works on embeddings, not on stages", f"drop '@{text}'; stages go with {takers}"
        )
    words = text.split(",")
    if any(word not in map(str, STAGES) for word in words):
        raise UsageFailure(f"--method: stages '{text}' of {name} are not among 1, 2, 3, 4", f"write {name}@2,3,4")
    if len(set(words)) < len(words):
        raise UsageFailure(f"--method: stages '{text}' of {name} repeat one", "name each stage once")
    return tuple(sorted(map(int, words)))
