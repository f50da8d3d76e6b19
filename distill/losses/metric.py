"""Metric losses on labels, from pytorch-metric-learning."""

from __future__ import annotations

from torch import Tensor, nn

from distill.console.errors import Failure, UsageFailure, suggest
from distill.losses.pairs import upcast

__all__ = ["METRIC_LOSSES", "MetricLoss"]

# Proxies start random and meet few images: Kim et al. (Proxy Anchor, CVPR 2020) give them 100
# times the network's learning rate.
PROXY_LR_FACTOR = 100.0


def _triplet(num_classes: int, embedding_size: int) -> tuple[nn.Module, nn.Module | None]:
    from pytorch_metric_learning import losses, miners, reducers

    # Mean over all anchors, satisfied ones included; the library's own default leaves those out.
    return losses.TripletMarginLoss(margin=0, reducer=reducers.MeanReducer()), miners.BatchHardMiner()


def _triplet_semihard(num_classes: int, embedding_size: int) -> tuple[nn.Module, nn.Module | None]:
    from pytorch_metric_learning import losses, miners

    return losses.TripletMarginLoss(margin=0.2), miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard")


def _multi_similarity(num_classes: int, embedding_size: int) -> tuple[nn.Module, nn.Module | None]:
    from pytorch_metric_learning import losses, miners

    return losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5), miners.MultiSimilarityMiner(epsilon=0.1)


def _proxy_anchor(num_classes: int, embedding_size: int) -> tuple[nn.Module, nn.Module | None]:
    from pytorch_metric_learning import losses

    return losses.ProxyAnchorLoss(num_classes, embedding_size, margin=0.1, alpha=32), None


def _contrastive(num_classes: int, embedding_size: int) -> tuple[nn.Module, nn.Module | None]:
    from pytorch_metric_learning import losses

    return losses.ContrastiveLoss(pos_margin=0, neg_margin=1), None


METRIC_LOSSES = {
    "triplet": _triplet,
    "triplet_semihard": _triplet_semihard,
    "multi_similarity": _multi_similarity,
    "proxy_anchor": _proxy_anchor,
    "contrastive": _contrastive,
}


class MetricLoss(nn.Module):
    """A loss on labels with its miner.

    | name | loss | source |
    |---|---|---|
    | triplet | mean over anchors of max(0, hardest positive − hardest negative distance) | Hermans et al. 2017; Yu et al. 2019, margin 0 |
    | triplet_semihard | mean over semi-hard triplets of max(0, d_ap − d_an + 0.2) | Schroff et al., CVPR 2015 |
    | multi_similarity | weighted hard pairs, α 2, β 50, base 0.5, ε 0.1 | Wang et al., CVPR 2019 |
    | proxy_anchor | a learned proxy per class, margin 0.1, α 32 | Kim et al., CVPR 2020 |
    | contrastive | positives to 0, negatives beyond 1 | Hadsell et al., CVPR 2006 |

    Args:
        name: of the table.
        num_classes: classes that labels 0..num_classes−1 name (proxy_anchor makes a proxy each).
        embedding_size: d.

    Raises:
        UsageFailure: unknown name.
        Failure: proxy_anchor without classes.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        >>> loss = MetricLoss("triplet", num_classes=2, embedding_size=2)
        >>> round(loss(rows, torch.tensor([0, 0, 1, 1])).item(), 4)  # √2 − 0 for each anchor
        1.4142
    """

    def __init__(self, name: str, num_classes: int, embedding_size: int) -> None:
        super().__init__()
        if name not in METRIC_LOSSES:
            raise UsageFailure(f"unknown metric loss '{name}'", suggest(name, METRIC_LOSSES))
        if name == "proxy_anchor" and (num_classes < 1 or embedding_size < 1):
            raise Failure(
                f"proxy_anchor: {num_classes} classes, {embedding_size} dimensions",
                "train on labelled images, or use triplet",
            )
        self.name = name
        self.num_classes = num_classes
        self.loss, self.miner = METRIC_LOSSES[name](num_classes, embedding_size)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of embeddings ``[n, d]`` with labels int64 ``[n]``.

        Zero, connected to the graph, where the batch holds no pair or triplet to learn from.

        Raises:
            Failure: shapes that do not match, or a label beyond the classes (proxy_anchor).
        """
        rows = upcast(embeddings)
        if rows.ndim != 2 or labels.shape != rows.shape[:1]:
            raise Failure(
                f"{self.name}: embeddings {tuple(rows.shape)} and labels {tuple(labels.shape)} do not match",
                "pass one label per embedding",
            )
        if len(rows) == 0 or (len(rows) == 1 and self.name != "proxy_anchor"):
            return self._nothing(rows)
        if self.name == "proxy_anchor":
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= self.num_classes:
                raise Failure(
                    f"proxy_anchor: labels {low} to {high} for {self.num_classes} proxies", "number the classes from 0"
                )
        pairs = self.miner(rows, labels) if self.miner is not None else None
        return self.loss(rows, labels, pairs)

    def _nothing(self, rows: Tensor) -> Tensor:
        """Zero with zero gradients: for the rows, and for proxies that other processes may train."""
        zero = rows.sum() * 0.0
        for parameter in self.parameters():
            zero = zero + parameter.sum() * 0.0
        return zero
