"""From the name of a method to one module that computes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from distill.console.errors import Failure, UsageFailure
from distill.losses.absolute import AbsoluteLoss, check_same_size
from distill.losses.attention import AttentionLoss
from distill.losses.hints import HintLoss, RelativeHintLoss
from distill.losses.method import Method, Term
from distill.losses.metric import METRIC_LOSSES, PROXY_LR_FACTOR, MetricLoss
from distill.losses.pkt import PktLoss
from distill.losses.raml import RamlLoss
from distill.losses.relative import RelativeLoss
from distill.losses.relaxed_contrastive import RelaxedContrastiveLoss
from distill.losses.rkd import RkdAngleLoss, RkdDistanceLoss, RkdLoss
from distill.losses.similarity_preserving import SimilarityPreservingLoss

__all__ = ["DistillationLoss", "build_losses"]

_ON_EMBEDDINGS = {
    "absolute": AbsoluteLoss,
    "relative": lambda: RelativeLoss("frobenius"),
    "relative_rms": lambda: RelativeLoss("rms"),
    "rkd": RkdLoss,
    "rkd_distance": RkdDistanceLoss,
    "rkd_angle": RkdAngleLoss,
    "pkt": PktLoss,
    "similarity_preserving": SimilarityPreservingLoss,
    "relaxed_contrastive": RelaxedContrastiveLoss,
    "raml": RamlLoss,
}


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
        embedding_size: dimension of the student's embedding.
        teacher_size: of the teacher's, None without a teacher.
        num_classes: labelled training classes; labels are 0..num_classes−1.
        student_stage_channels: channels of the student's four stage maps.
        teacher_stage_channels: of the teacher's, None without a teacher.

    Raises:
        UsageFailure: a term needs a teacher and there is none.
        Failure: dimensions that a term cannot reconcile.

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
        if term.name in METRIC_LOSSES:
            modules[term.name] = MetricLoss(term.name, num_classes, embedding_size)
            continue
        assert teacher_size is not None and teacher_stage_channels is not None
        if term.spec.space == "teacher":
            check_same_size(embedding_size, teacher_size, term.name)
        if term.name == "hint":
            modules[term.name] = HintLoss(
                [student_stage_channels[s - 1] for s in term.stages],
                [teacher_stage_channels[s - 1] for s in term.stages],
            )
        elif term.name == "hint_relative":
            modules[term.name] = RelativeHintLoss()
        elif term.name == "attention":
            modules[term.name] = AttentionLoss()
        else:
            modules[term.name] = _ON_EMBEDDINGS[term.name]()
    return DistillationLoss(method, modules)


class DistillationLoss(nn.Module):
    """The weighted sum of a method's terms.

    Attributes:
        method: what was asked for.
        needs_teacher, needs_labels, needs_stages: what ``forward`` must be given. Where stages
            are not needed, stored teacher embeddings do.
        space: ``"teacher"`` where the student learns the teacher's space, else ``"own"``.
        views: crops of each image that a batch should hold.

    Terms on the teacher see all images, terms on labels only the labelled ones: unlabelled
    images carry the teacher's losses alone (semi-supervised distillation, Yu et al. 2019).
    """

    def __init__(self, method: Method, modules: dict[str, nn.Module]) -> None:
        super().__init__()
        self.method = method
        self.needs_teacher = method.needs_teacher
        self.needs_labels = method.needs_labels
        self.needs_stages = method.needs_stages
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
    ) -> dict[str, Tensor]:
        """Loss of one batch, in float32 at least, whatever the autocast around it.

        Args:
            student: ``[n, d]`` embeddings.
            teacher: ``[n, D]`` of the same crops.
            labels: int64 ``[n]``; values at unlabelled images do not matter.
            student_stages, teacher_stages: the four maps ``[n, C, h, w]`` of each network; of the
                teacher None for a stage that no term takes, and of each stage what suffices
                (``Method.teacher_maps``).
            labelled_mask: bool ``[n]``, True where the label counts. None: everywhere.

        Returns:
            ``"loss"``: the scalar to minimise; and each term's name: its unweighted value, detached.

        Raises:
            Failure: something that a term needs is missing, or shapes do not match.
        """
        given = {
            "teacher embeddings": teacher,
            "labels": labels,
            "student maps": student_stages,
            "teacher maps": teacher_stages,
        }
        wanted = self._wanted()
        for name, value in given.items():
            if value is None and name in wanted:
                raise Failure(f"{self.method}: no {name} for '{wanted[name]}'", f"pass {name}, or drop the term")
        parts: dict[str, Tensor] = {}
        total = torch.zeros((), device=student.device)
        with torch.autocast(student.device.type, enabled=False):
            for term in self.method.terms:
                value = self._term(term, student, teacher, labels, student_stages, teacher_stages, labelled_mask)
                total = total + term.weight * value
                parts[term.name] = value.detach()
        return {"loss": total, **parts}

    def parameter_groups(self, lr: float) -> list[dict]:
        """The losses' own parameters for the optimiser: adaptors at ``lr``, proxies at 100 times ``lr``."""
        groups = []
        for name, module in self.terms.items():
            parameters = list(module.parameters())
            if parameters:
                factor = PROXY_LR_FACTOR if name in METRIC_LOSSES else 1.0
                groups.append({"params": parameters, "lr": lr * factor})
        return groups

    def _wanted(self) -> dict[str, str]:
        """What must be given → the first term that needs it."""
        wanted: dict[str, str] = {}
        for term in self.method.terms:
            needs: Iterable[str] = ("labels",)
            if term.stages:
                needs = ("student maps", "teacher maps")
            elif term.spec.teacher:
                needs = ("teacher embeddings",)
            for need in needs:
                wanted.setdefault(need, term.name)
        return wanted

    def _term(
        self,
        term: Term,
        student: Tensor,
        teacher: Tensor | None,
        labels: Tensor | None,
        student_stages: Sequence[Tensor] | None,
        teacher_stages: Sequence[Tensor | None] | None,
        labelled_mask: Tensor | None,
    ) -> Tensor:
        module = self.terms[term.name]
        if term.spec.labels:
            assert labels is not None
            if labelled_mask is None:
                return module(student, labels)
            return module(student[labelled_mask], labels[labelled_mask])
        if not term.stages:
            return module(student, teacher)
        assert student_stages is not None and teacher_stages is not None
        own, other = (self._chosen(term, maps) for maps in (student_stages, teacher_stages))
        if term.name == "similarity_preserving":
            return torch.stack([module(a, b) for a, b in zip(own, other, strict=True)]).sum()
        return module(own, other)

    def _chosen(self, term: Term, maps: Sequence[Tensor | None]) -> list[Tensor]:
        if len(maps) < max(term.stages):
            raise Failure(f"{term}: only {len(maps)} stage maps given", "pass the maps of all four stages")
        chosen = [maps[stage - 1] for stage in term.stages]
        found = [m for m in chosen if m is not None]
        if len(found) < len(chosen):
            raise Failure(f"{term}: no map of stage {term.stages[chosen.index(None)]}", "pass the maps of its stages")
        return found
