"""Losses on labels: equal to the paper's and to their formulas, harmless without pairs."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pytorch_metric_learning")

from distill.console import Failure, UsageFailure
from distill.losses import LOSSES, LossContext
from distill.losses.registry import LABEL_LOSSES


def metric_loss(name, num_classes, embedding_size):
    return LOSSES[name].build(LossContext(student_size=embedding_size, teacher_size=None, num_classes=num_classes))


def batch(n=32, d=16, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(n, d, generator=generator))
    return rows, torch.arange(n) % classes


def batch_hard(rows, labels, margin=0.0):
    """The paper's: per anchor its farthest positive and nearest negative, mean over all anchors."""
    rows = torch.nn.functional.normalize(rows)
    losses = []
    for i in range(len(rows)):
        distances = (rows - rows[i]).norm(dim=1)
        positives = [distances[j] for j in range(len(rows)) if j != i and labels[j] == labels[i]]
        negatives = [distances[j] for j in range(len(rows)) if labels[j] != labels[i]]
        if positives and negatives:
            losses.append((max(positives) - min(negatives) + margin).clamp(min=0))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("seed", range(5))
def test_triplet_is_batch_hard_over_all_anchors(seed):
    rows, labels = batch(seed=seed)
    # Pull the classes apart so that some anchors are satisfied: their zeros must count.
    rows = torch.nn.functional.normalize(rows + 1.5 * torch.eye(16)[labels])
    ours, reference = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    loss, expected = metric_loss("triplet", 4, 16)(ours, labels), batch_hard(reference, labels)
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-7)
    torch.testing.assert_close(ours.grad, reference.grad, atol=1e-5, rtol=1e-3)


def test_triplet_by_hand():
    # On the unit circle: class 0 at 0° and 60°, class 1 at 90° and 180°. Chords: 2·sin(angle/2).
    # Anchor 0°: positive 60° (1), negative 90° (√2): 0. Anchor 60°: 1 − 2·sin 15° = 0.48236.
    # Anchor 90°: √2 − 2·sin 15° = 0.89658. Anchor 180°: √2 − √3 < 0 (nearest negative 60°): 0.
    degrees = torch.tensor([0.0, 60.0, 90.0, 180.0])
    rows = torch.stack([torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()], dim=1)
    loss = metric_loss("triplet", 2, 2)(rows, torch.tensor([0, 0, 1, 1]))
    assert loss.item() == pytest.approx((0.48236 + 0.89658) / 4, abs=1e-5)


def test_multi_similarity_formula():
    rows, labels = batch(12, 8, 3)
    similarity = rows @ rows.T
    losses = []
    for i in range(12):
        same = [j for j in range(12) if j != i and labels[j] == labels[i]]
        different = [j for j in range(12) if labels[j] != labels[i]]
        hardest = max(similarity[i, j] for j in different) + 0.1
        easiest = min(similarity[i, j] for j in same) - 0.1
        positive = [j for j in same if similarity[i, j] < hardest]
        negative = [j for j in different if similarity[i, j] > easiest]
        pull = torch.log(1 + sum(torch.exp(-2 * (similarity[i, j] - 0.5)) for j in positive)) / 2 if positive else 0.0
        push = torch.log(1 + sum(torch.exp(50 * (similarity[i, j] - 0.5)) for j in negative)) / 50 if negative else 0.0
        losses.append(float(pull + push))
    assert metric_loss("multi_similarity", 3, 8)(rows, labels).item() == pytest.approx(sum(losses) / 12, rel=1e-4)


def test_proxy_anchor_formula():
    torch.manual_seed(0)
    rows, labels = batch(12, 8, 3)
    loss = metric_loss("proxy_anchor", 5, 8)  # two classes absent from the batch
    (proxies,) = loss.parameters()
    cosine = rows @ torch.nn.functional.normalize(proxies.detach()).T
    pull = sum(torch.log(1 + torch.exp(-32 * (cosine[labels == c, c] - 0.1)).sum()) for c in range(3)) / 3
    push = sum(torch.log(1 + torch.exp(32 * (cosine[labels != c, c] + 0.1)).sum()) for c in range(5)) / 5
    assert loss(rows, labels).item() == pytest.approx(float(pull + push), rel=1e-4)


def test_contrastive_formula():
    rows, labels = batch(8, 4, 2)
    distances = torch.cdist(rows, rows)
    same = (labels[:, None] == labels) & ~torch.eye(8, dtype=torch.bool)
    pull = distances[same]
    push = (1 - distances[labels[:, None] != labels]).clamp(min=0)
    assert (push > 0).any()
    # The library averages each over its positive terms.
    expected = pull[pull > 0].mean() + push[push > 0].mean()
    assert metric_loss("contrastive", 2, 4)(rows, labels).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("name", sorted(LABEL_LOSSES))
@pytest.mark.parametrize("labels", [[], [2], [0, 1, 2, 3], [1, 1, 1, 1]])
def test_batches_without_pairs_or_triplets_are_no_error(name, labels):
    loss = metric_loss(name, 4, 6)
    rows = torch.nn.functional.normalize(torch.randn(len(labels), 6)).requires_grad_()
    value = loss(rows, torch.tensor(labels, dtype=torch.int64))
    value.backward()
    assert torch.isfinite(value) and value.requires_grad
    assert rows.grad is not None and torch.isfinite(rows.grad).all()
    if name == "triplet":
        assert value.item() == 0 and (rows.grad == 0).all()
    for parameter in loss.parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("name", sorted(LABEL_LOSSES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_duplicates_and_half_precision(name, dtype):
    rows, labels = batch()
    rows[8:16] = rows[:8]
    rows[5] = rows[4]
    student = rows.to(dtype).requires_grad_()
    value = metric_loss(name, 4, 16)(student, labels)
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value) and torch.isfinite(student.grad).all()


def test_wrong_arguments():
    with pytest.raises(UsageFailure, match="unknown loss 'tripelt'.*'triplet'"):
        metric_loss("tripelt", 2, 2)
    with pytest.raises(Failure, match="0 classes"):
        metric_loss("proxy_anchor", 0, 8)
    with pytest.raises(Failure, match="labels 0 to 3 for 3 proxies"):
        metric_loss("proxy_anchor", 3, 16)(*batch())
    with pytest.raises(Failure, match="do not match"):
        metric_loss("triplet", 3, 16)(batch()[0], torch.zeros(3, dtype=torch.int64))
