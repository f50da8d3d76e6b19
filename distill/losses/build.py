"""Build the module that computes a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from distill.console.errors import Failure, UsageFailure
from distill.losses.method import Method, Term
from distill.losses.pairs import check_same_size
from distill.losses.spec import LossContext

__all__ = ["DistillationLoss", "build_losses"]


def build_losses(
    method: Method,
    *,
    embedding_size: int,
    teacher_size: int | None,
    num_classes: int,
    student_stage_channels: Sequence[int],
    teacher_stage_channels: Sequence[int] | None,
) -> DistillationLoss:
    """Build every term of ``method``.

    Args:
        embedding_size: dimensions of the student's embedding.
        teacher_size: dimensions of the teacher's embedding, None without a teacher.
        num_classes: number of labelled training classes; labels are 0..num_classes−1.
        student_stage_channels: channels of the student's four stage maps.
        teacher_stage_channels: channels of the teacher's, None without a teacher.

    Raises:
        UsageFailure: a term needs a teacher and there is none.
        Failure: a term cannot work with these dimensions.

    Example:
        >>> from distill.losses.method import parse_method
        >>> losses = build_losses(
        ...     parse_method("relative+triplet"), embedding_size=8, teacher_size=16, num_classes=2,
        ...     student_stage_channels=(4, 8, 16, 32), teacher_stage_channels=(8, 16, 32, 64),
        ... )
        >>> parts = losses(torch.rand(4, 8), torch.rand(4, 16), labels=torch.tensor([0, 0, 1, 1]))
        >>> sorted(parts)
        ['loss', 'relative', 'triplet']
    """
    if method.needs_teacher and (teacher_size is None or teacher_stage_channels is None):
        raise UsageFailure(
            f"--method {method} needs a teacher", "add --teacher DIR, or use a metric loss such as triplet"
        )
    modules = {}
    for term in method.terms:
        if term.spec.space == "teacher" and teacher_size is not None:
            check_same_size(embedding_size, teacher_size, term.name)
        context = LossContext(
            student_size=embedding_size,
            teacher_size=teacher_size,
            num_classes=num_classes,
            student_channels=tuple(student_stage_channels[stage - 1] for stage in term.stages),
            teacher_channels=tuple(teacher_stage_channels[stage - 1] for stage in term.stages)
            if teacher_stage_channels
            else (),
        )
        modules[term.name] = term.spec.build(context)
    return DistillationLoss(method, modules)


class DistillationLoss(nn.Module):
    """The weighted sum of a method's terms.

    Terms on the teacher see all images, terms on labels only the labelled ones: unlabelled
    images carry the teacher's losses alone (semi-supervised distillation, Yu et al. 2019).

    Attributes:
        method: the method that this module computes.
        needs_teacher, needs_labels, needs_stages, needs_raw: which inputs ``forward`` needs. Unless it needs
            stages, the teacher's stored embeddings suffice.
        space: ``"teacher"`` if the student learns the teacher's space, else ``"own"``.
        views: crops of each image that a batch should hold.
    """

    def __init__(self, method: Method, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.method = method
        self.needs_teacher = method.needs_teacher
        self.needs_labels = method.needs_labels
        self.needs_stages = method.needs_stages
        self.needs_raw = method.needs_raw
        self.space = method.space
        self.views = method.views
        self.terms = nn.ModuleDict(modules)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor | None = None,
        labels: Tensor | None = None,
        student_stages: Sequence[Tensor] | None = None,
        teacher_stages: Sequence[Tensor | None] | None = None,
        labelled_mask: Tensor | None = None,
        student_raw: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Loss of one batch, in float32 or wider even under autocast.

        Args:
            student: ``[n, d]`` embeddings.
            teacher: ``[n, D]`` of the same crops.
            labels: int64 ``[n]``; values at unlabelled images are ignored.
            student_stages, teacher_stages: the four maps ``[n, C, h, w]`` of each network. The
                teacher's is None at a stage that no term uses, and may be reduced to what the terms
                need (``Method.teacher_maps``).
            labelled_mask: bool ``[n]``, True where the label counts. None: everywhere.
            student_raw: ``[n, d]``, the student's embeddings before their L2 norm.

        Returns:
            ``"loss"``: the scalar to minimise; each term's name: its unweighted value, detached.

        Raises:
            Failure: an input that a term needs is missing, or shapes do not match.
        """
        given = {
            "teacher embeddings": teacher,
            "labels": labels,
            "student embeddings before their norm": student_raw,
            "student maps": student_stages,
            "teacher maps": teacher_stages,
        }
        parts: dict[str, Tensor] = {}
        total = torch.zeros((), device=student.device)
        for term in self.method.terms:
            for need in _needs(term):
                if given[need] is None:
                    raise Failure(f"{self.method}: no {need} for '{term.name}'", f"pass {need}, or drop the term")
        with torch.autocast(student.device.type, enabled=False):
            for term in self.method.terms:
                rows = student_raw if term.spec.student_rows == "raw" else student
                inputs: list[Any] = [_chosen(term, student_stages) if term.stages else rows]
                if term.spec.teacher:
                    inputs.append(_chosen(term, teacher_stages) if term.stages else teacher)
                if term.spec.labels:
                    inputs.append(labels)
                    if labelled_mask is not None:
                        inputs = [_rows(each, labelled_mask) for each in inputs]
                value = self.terms[term.name](*inputs)
                total = total + term.weight * value
                parts[term.name] = value.detach()
        return {"loss": total, **parts}

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Optimiser groups of the losses' own parameters, at ``lr`` times each spec's ``lr_factor``."""
        return [
            {"params": parameters, "lr": lr * term.spec.lr_factor}
            for term in self.method.terms
            if (parameters := list(self.terms[term.name].parameters()))
        ]


def _needs(term: Term) -> list[str]:
    """Names of the inputs that a term needs besides the student's embeddings."""
    needs = ["student maps"] if term.stages else []
    if term.spec.student_rows == "raw":
        needs.append("student embeddings before their norm")
    if term.spec.teacher:
        needs.append("teacher maps" if term.stages else "teacher embeddings")
    if term.spec.labels:
        needs.append("labels")
    return needs


def _chosen(term: Term, maps: Sequence[Tensor | None] | None) -> list[Tensor]:
    """The maps of a term's stages."""
    given = maps or ()
    if len(given) < max(term.stages):
        raise Failure(f"{term}: only {len(given)} stage maps given", "pass the maps of all four stages")
    chosen = [given[stage - 1] for stage in term.stages]
    found = [m for m in chosen if m is not None]
    if len(found) < len(chosen):
        raise Failure(f"{term}: no map of stage {term.stages[chosen.index(None)]}", "pass the maps of its stages")
    return found


def _rows(value: Tensor | list[Tensor], mask: Tensor) -> Tensor | list[Tensor]:
    """The rows of a batch, or of each map of a list, where ``mask`` is True."""
    return [each[mask] for each in value] if isinstance(value, list) else value[mask]
