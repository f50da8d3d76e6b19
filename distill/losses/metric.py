"""Metric losses on labels, from pytorch-metric-learning."""

from __future__ import annotations

from torch import Tensor, nn

from distill.console.errors import Failure
from distill.losses.pairs import upcast
from distill.losses.spec import LossContext, LossSpec

__all__ = [
    "CONTRASTIVE",
    "MULTI_SIMILARITY",
    "PROXY_ANCHOR",
    "TRIPLET",
    "TRIPLET_SEMIHARD",
    "MetricLoss",
    "ProxyAnchorLoss",
    "multi_similarity",
]


class MetricLoss(nn.Module):
    """A loss on labels together with its miner.

    Args:
        name: name of the loss, for error messages.
        loss: a loss of pytorch-metric-learning.
        miner: chooses the pairs or triplets that enter the loss; None takes all.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        >>> loss = TRIPLET.build(LossContext(student_size=2, teacher_size=None, num_classes=2))
        >>> round(loss(rows, torch.tensor([0, 0, 1, 1])).item(), 4)  # √2 − 0 for each anchor
        1.4142
    """

    def __init__(self, name: str, loss: nn.Module, miner: nn.Module | None = None) -> None:
        super().__init__()
        self.name = name
        self.loss = loss
        self.miner = miner

    def forward(self, student: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of embeddings ``[n, d]`` with labels int64 ``[n]``.

        For a batch without a pair or triplet to learn from: zero, connected to the graph.

        Raises:
            Failure: shapes that do not match.
        """
        rows = upcast(student)
        if rows.ndim != 2 or labels.shape != rows.shape[:1]:
            raise Failure(
                f"{self.name}: embeddings {tuple(rows.shape)} and labels {tuple(labels.shape)} do not match",
                "pass one label per embedding",
            )
        if not self._can_learn(rows):
            return self._nothing(rows)
        self._check(labels)
        pairs = self.miner(rows, labels) if self.miner is not None else None
        return self.loss(rows, labels, pairs)

    def _can_learn(self, rows: Tensor) -> bool:
        """Whether there are enough rows for a pair."""
        return len(rows) > 1

    def _check(self, labels: Tensor) -> None:
        """Refuse labels that the loss cannot take."""

    def _nothing(self, rows: Tensor) -> Tensor:
        """Zero with zero gradients for the rows and the parameters, which other processes may be training."""
        zero = rows.sum() * 0.0
        for parameter in self.parameters():
            zero = zero + parameter.sum() * 0.0
        return zero


class ProxyAnchorLoss(MetricLoss):
    """Proxy Anchor: one learned proxy for each class, margin 0.1, α 32.

    Kim et al., "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020.

    Args:
        num_classes: number of proxies, for labels 0..num_classes−1.
        embedding_size: d.

    Raises:
        Failure: no class, no dimension, or (when called) a label outside the classes.
    """

    def __init__(self, num_classes: int, embedding_size: int) -> None:
        from pytorch_metric_learning import losses

        if num_classes < 1 or embedding_size < 1:
            raise Failure(
                f"proxy_anchor: {num_classes} classes, {embedding_size} dimensions",
                "train on labelled images, or use triplet",
            )
        super().__init__("proxy_anchor", losses.ProxyAnchorLoss(num_classes, embedding_size, margin=0.1, alpha=32))
        self.num_classes = num_classes

    def _can_learn(self, rows: Tensor) -> bool:
        return len(rows) > 0  # one row makes pairs with the proxies

    def _check(self, labels: Tensor) -> None:
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= self.num_classes:
            raise Failure(
                f"proxy_anchor: labels {low} to {high} for {self.num_classes} proxies", "number the classes from 0"
            )


def _triplet(context: LossContext) -> MetricLoss:
    from pytorch_metric_learning import losses, miners, reducers

    # Mean over all anchors, satisfied ones included; the library leaves those out by default.
    loss = losses.TripletMarginLoss(margin=0, reducer=reducers.MeanReducer())
    return MetricLoss("triplet", loss, miners.BatchHardMiner())


def _triplet_semihard(context: LossContext) -> MetricLoss:
    from pytorch_metric_learning import losses, miners

    miner = miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard")
    return MetricLoss("triplet_semihard", losses.TripletMarginLoss(margin=0.2), miner)


def multi_similarity() -> MetricLoss:
    """Build the multi-similarity loss with its miner (Wang et al., CVPR 2019)."""
    from pytorch_metric_learning import losses, miners

    loss = losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5)
    return MetricLoss("multi_similarity", loss, miners.MultiSimilarityMiner(epsilon=0.1))


def _contrastive(context: LossContext) -> MetricLoss:
    """Build the contrastive loss of pytorch-metric-learning: on distances, where Hadsell et al. take half their squares."""
    from pytorch_metric_learning import losses

    return MetricLoss("contrastive", losses.ContrastiveLoss(pos_margin=0, neg_margin=1))


TRIPLET = LossSpec(
    help="keep the hardest positive closer than the hardest negative",
    equation="mean over all anchors of `max(0, d(hardest positive) − d(hardest negative))`: batch-hard, margin 0, satisfied anchors counted",
    source="Hermans et al. 2017; Yu et al., CVPR 2019",
    build=_triplet,
    teacher=False,
    labels=True,
)
TRIPLET_SEMIHARD = LossSpec(
    help="keep positives closer than negatives by a margin",
    equation="mean over active triplets of `max(0, d_ap − d_an + 0.2)`, semi-hard",
    source="Schroff et al., CVPR 2015",
    build=_triplet_semihard,
    teacher=False,
    labels=True,
)
MULTI_SIMILARITY = LossSpec(
    help="pull and push hard pairs, weighted by their similarity",
    equation="log-sum-exp over hard pairs, α 2, β 50, base 0.5, mined with ε 0.1",
    source="Wang et al., CVPR 2019",
    build=lambda context: multi_similarity(),
    teacher=False,
    labels=True,
)
PROXY_ANCHOR = LossSpec(
    help="stay close to the learned proxy of the class",
    equation="a learned proxy for each class, margin 0.1, α 32; proxies at 100 × the learning rate",
    source="Kim et al., CVPR 2020",
    build=lambda context: ProxyAnchorLoss(context.num_classes, context.student_size),
    teacher=False,
    labels=True,
    lr_factor=100.0,  # as in the paper: proxies start random and meet few images
)
CONTRASTIVE = LossSpec(
    help="pull positives together, push negatives a margin apart",
    equation="`d_ap` to 0, `max(0, 1 − d_an)` to 0, each over its active pairs",
    source="Hadsell et al., CVPR 2006",
    build=_contrastive,
    teacher=False,
    labels=True,
)
