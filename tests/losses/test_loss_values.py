"""Each loss against values computed by hand and against other implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from distill.console import Failure, UsageFailure
from distill.losses.absolute import AbsoluteLoss
from distill.losses.attention import AttentionLoss, attention_map
from distill.losses.csd import CsdLoss
from distill.losses.d3still import D3stillLoss
from distill.losses.hints import HintLoss, RelativeHintLoss
from distill.losses.pairs import pairwise_distances, same_grid
from distill.losses.pkt import PktLoss
from distill.losses.raml import RamlLoss
from distill.losses.relative import RelativeLoss
from distill.losses.relaxed_contrastive import RelaxedContrastiveLoss
from distill.losses.rkd import RkdAngleLoss, RkdDistanceLoss, RkdLoss
from distill.losses.similarity_preserving import SimilarityPreservingLoss


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def unit(n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64))


def test_absolute():
    # ‖(3,4)‖ = 5 and ‖(0,0)‖ = 0: mean 2.5.
    assert AbsoluteLoss()(rows([3, 4], [1, 1]), rows([0, 0], [1, 1])).item() == 2.5


def test_relative():
    # Student on a line at 0, 1, 3: distances 1, 3, 2. Teacher at 0, 2, 3: 2, 3, 1.
    # Differences −1, 0, 1, each pair twice: Σ of squares 4. Frobenius 2, RMS √(4/9) = 2/3.
    student, teacher = rows([0], [1], [3]), rows([0], [2], [3])
    assert RelativeLoss("frobenius")(student, teacher).item() == pytest.approx(2)
    assert RelativeLoss("rms")(student, teacher).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("n", [2, 7, 32])
def test_relative_forms_differ_by_n(n):
    # λ_rms = n · λ_frobenius gives the same weighted loss.
    student, teacher = unit(n, 8), unit(n, 16, seed=1)
    frobenius, rms = RelativeLoss("frobenius")(student, teacher), RelativeLoss("rms")(student, teacher)
    assert 0.3 * frobenius.item() == pytest.approx(0.3 * n * rms.item())


def test_relative_agrees_with_scipy():
    distance = pytest.importorskip("scipy.spatial.distance")
    student, teacher = unit(12, 8), unit(12, 16, seed=1)
    expected = np.linalg.norm(distance.cdist(student, student) - distance.cdist(teacher, teacher))
    assert RelativeLoss()(student, teacher).item() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(UsageFailure, match="unknown form 'frob'"):
        RelativeLoss("frob")


def test_hint():
    # Adaptor of weight 2 and bias 1: 2·[1, 2] + 1 = [3, 5]; teacher [3, 2]; squares 0, 9;
    # mean 4.5, half of it 2.25.
    loss = HintLoss([1], [1])
    with torch.no_grad():
        loss.adaptors[0].weight.fill_(2)
        loss.adaptors[0].bias.fill_(1)
    student, teacher = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[3.0, 2.0]]]])
    assert loss([student], [teacher]).item() == pytest.approx(2.25)


def test_hint_of_other_channels_and_sizes_adds_stages():
    torch.manual_seed(0)
    loss = HintLoss([4, 6], [8, 5])
    student = [torch.rand(3, 4, 14, 14), torch.rand(3, 6, 4, 4)]
    teacher = [torch.rand(3, 8, 7, 7), torch.rand(3, 5, 8, 8)]
    each = []
    for adaptor, ours, targets in zip(loss.adaptors, student, teacher, strict=True):
        side = min(ours.shape[2], targets.shape[2])
        pool = torch.nn.AdaptiveAvgPool2d(side)
        each.append(0.5 * torch.nn.functional.mse_loss(adaptor(pool(ours)), pool(targets)).item())
    assert loss(student, teacher).item() == pytest.approx(sum(each), rel=1e-5)


def test_hint_is_zero_where_the_adaptor_is_the_identity():
    loss = HintLoss([3], [3])
    with torch.no_grad():
        loss.adaptors[0].weight.copy_(torch.eye(3)[:, :, None, None])
        loss.adaptors[0].bias.zero_()
    maps = [torch.rand(2, 3, 5, 5)]
    assert loss(maps, maps).item() == pytest.approx(0, abs=1e-12)


def test_maps_are_pooled_to_the_smaller_grid():
    big, small = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]]), torch.tensor([[[[1.0, 2.0]]]])
    pooled, kept = same_grid(big, small)  # height 1, width 2
    assert pooled.tolist() == [[[[3.0, 5.0]]]] and kept is small


def test_hint_relative():
    # Maps of one cell, two channels. Student: (1,0), (0,1), scaled to length 1: √2 apart.
    # Teacher: (2,0), (5,0): 0 apart after scaling. RMS over the 2×2 matrix: √(2·2/4) = 1.
    student, teacher = rows([1, 0], [0, 1]).view(2, 2, 1, 1), rows([2, 0], [5, 0]).view(2, 2, 1, 1)
    assert RelativeHintLoss()([student], [teacher]).item() == pytest.approx(1)
    assert RelativeHintLoss()([student, student], [teacher, teacher]).item() == pytest.approx(2)


def test_attention():
    # Channels (3, 1) left and (1, 3)·… : squares averaged give left (9+1)/2 = 5, right (16+0)/2 = 8.
    maps = torch.tensor([[[[3.0, 4.0]], [[1.0, 0.0]]]])
    norm = math.sqrt(5**2 + 8**2)
    assert attention_map(maps)[0].tolist() == pytest.approx([5 / norm, 8 / norm])
    # Against a teacher that looks left only, (1, 0): √((5/norm − 1)² + (8/norm)²).
    teacher = torch.tensor([[[[7.0, 0.0]]]])
    expected = math.sqrt((5 / norm - 1) ** 2 + (8 / norm) ** 2)
    assert AttentionLoss()([maps], [teacher]).item() == pytest.approx(expected, rel=1e-6)
    # Averaged over images, added over stages.
    both = torch.cat([maps, teacher.expand(1, 2, 1, 2)])
    assert AttentionLoss()([both, both], [torch.cat([teacher, teacher])] * 2).item() == pytest.approx(
        expected, rel=1e-6
    )


def test_rkd_distance():
    # Student 0, 1, 3: distances 1, 3, 2, mean 2: ½, 3/2, 1. Teacher 0, 2, 3: 2, 3, 1: 1, 3/2, ½.
    # Differences ½, 0, ½ → x²/2 = 1/8, 0, 1/8; each pair twice, over n² = 9: ½ / 9 = 1/18.
    student, teacher = rows([0], [1], [3]), rows([0], [2], [3])
    assert RkdDistanceLoss()(student, teacher).item() == pytest.approx(1 / 18)


def test_rkd_distance_is_linear_beyond_one():
    # n = 3. Student 0, 0, 9: distances 0, 9, 9; the mean of the positive ones is 9: 0, 1, 1.
    # Teacher 0, 9, 9: pair (0,1): 1, (0,2): 1, (1,2): 0. Differences 1, 0, 1: each ½; 2·(½+½)/9.
    assert RkdDistanceLoss()(rows([0], [0], [9]), rows([0], [9], [9])).item() == pytest.approx(2 / 9)
    # Teacher 0, 1, 31 (mean (1+31+30)·2/6 = 62/3): 3/62, 93/62, 90/62 against 1, 0, 1.
    student, teacher = rows([0], [9], [0]), rows([0], [1], [31])
    ours = [1.0, 0.0, 1.0]
    theirs = [3 / 62, 93 / 62, 90 / 62]
    huber = [x * x / 2 if (x := abs(a - b)) <= 1 else x - 0.5 for a, b in zip(ours, theirs, strict=True)]
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) > 1
    assert RkdDistanceLoss()(student, teacher).item() == pytest.approx(2 * sum(huber) / 9)


def test_rkd_angle():
    # Student: a right angle at B with legs 1: A(1,0), B(0,0), C(0,1). cos: at B 0, at A and C 1/√2.
    # Teacher: on a line in the order A, B, C: at B −1, at A and C 1. Each angle counts twice
    # (i and k exchanged). Where i = k the cosine is 1 in both.
    student, teacher = rows([1, 0], [0, 0], [0, 1]), rows([0, 0], [1, 0], [2, 0])
    gap = 1 - 1 / math.sqrt(2)
    expected = 2 * (0.5 * 1**2 + 2 * 0.5 * gap**2) / 27
    assert RkdAngleLoss()(student, teacher).item() == pytest.approx(expected)
    assert RkdLoss()(student, teacher).item() == pytest.approx(
        RkdDistanceLoss()(student, teacher).item() + 2 * expected
    )


def test_pkt():
    # Unit vectors at 0°, 90°, 180°: kernel (cos + 1)/2: ½ for 90°, 0 for 180° (floor 1e-6).
    # Teacher at 0°, 0°, 90°: kernels 1, ½, ½.
    student, teacher = rows([1, 0], [0, 1], [-1, 0]), rows([1, 0], [1, 0], [0, 1])

    def divergence(p, q):
        p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))

    tiny = 1e-6
    expected = (
        divergence([1, 0.5], [0.5, tiny]) + divergence([1, 0.5], [0.5, 0.5]) + divergence([0.5, 0.5], [tiny, 0.5])
    ) / 3
    assert PktLoss()(student, teacher).item() == pytest.approx(expected)


def test_pkt_agrees_with_torch_kl():
    student, teacher = unit(9, 8), unit(9, 5, seed=1)

    def probabilities(x):
        kernel = (torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=2) + 1) / 2
        kernel.fill_diagonal_(0)
        return kernel / kernel.sum(1, keepdim=True)

    expected = torch.nn.functional.kl_div(
        (probabilities(student) + torch.eye(9)).log(), probabilities(teacher), reduction="sum"
    )
    assert PktLoss()(student, teacher).item() == pytest.approx(expected.item() / 9, rel=1e-9)


def test_similarity_preserving():
    # Student (1,0), (1,0): Gram all 1, rows (1,1)/√2. Teacher (1,0), (0,2): rows (1,0), (0,1).
    # Squares: (1/√2 − 1)² and (1/√2)², twice each: Σ = 4 − 2√2; over n² = 4.
    student, teacher = rows([1, 0], [1, 0]), rows([1, 0], [0, 2])
    assert SimilarityPreservingLoss()(student, teacher).item() == pytest.approx((4 - 2 * math.sqrt(2)) / 4)
    maps = SimilarityPreservingLoss()(student.view(2, 1, 1, 2), teacher.view(2, 2, 1, 1))
    assert maps.item() == pytest.approx((4 - 2 * math.sqrt(2)) / 4)


def test_relaxed_contrastive():
    # Teacher (1,0), (0,1), (0,3): normalised distances² 2, 2, 0; weights e⁻², e⁻², 1.
    # Student 0, 1, 3: distances 1, 3, 2; μ = (0+1+3)/3 = 4/3, 1, 5/3 (the zero is counted).
    w = math.exp(-2)
    student, teacher = rows([0], [1], [3]), rows([1, 0], [0, 1], [0, 3])

    def term(weight, distance):
        return weight * distance**2 + (1 - weight) * max(0, 1 - distance) ** 2

    expected = (
        term(w, 3 / 4)
        + term(w, 9 / 4)  # image 0: to 1, to 2
        + term(w, 1)
        + term(1, 2)  # image 1: to 0, to 2
        + term(w, 9 / 5)
        + term(1, 6 / 5)  # image 2: to 0, to 1
    ) / 3
    assert RelaxedContrastiveLoss()(student, teacher).item() == pytest.approx(expected)
    assert RelaxedContrastiveLoss()(100 * student, teacher).item() == pytest.approx(expected)


def test_relaxed_contrastive_options():
    # σ = 2: weight e⁻¹; two images: both distances are 2 means; δ = 3 pushes by (3 − 2)² = 1.
    student, teacher = rows([0], [1]), rows([1, 0], [0, 1])
    w = math.exp(-1)
    assert RelaxedContrastiveLoss(sigma=2, delta=3)(student, teacher).item() == pytest.approx(4 * w + (1 - w))


def test_raml():
    # Student (1,0), (1,0); teacher (1,0), (0,1). Absolute: (0² + 1²)/2 = ½.
    # s·t off the diagonal: s_0·t_1 = 0, s_1·t_0 = 1 against t·t = 0: (0 + 1)/2 = ½.
    # s·s off the diagonal: 1 against 0, twice: 1.
    student, teacher = rows([1, 0], [1, 0]), rows([1, 0], [0, 1])
    assert RamlLoss(0, 0)(student, teacher).item() == pytest.approx(0.5)
    assert RamlLoss(1, 0)(student, teacher).item() == pytest.approx(1.0)
    assert RamlLoss(0, 1)(student, teacher).item() == pytest.approx(1.5)
    assert RamlLoss()(3 * student, teacher).item() == pytest.approx(0.5 + 0.7 * 0.5 + 0.7)


def test_csd():
    # Teacher (1,0), (0,1): t_0·t = (1, 0), t_1·t = (0, 1). Student (0,1), (0,1): s_0·t = s_1·t = (0, 1).
    # With both temperatures 1: p_0 = (e, 1)/(e+1), q_0 = (1, e)/(e+1): KL = (e−1)/(e+1) · (1 − 0); p_1 = q_1: 0.
    student, teacher = rows([0, 1], [0, 1]), rows([1, 0], [0, 1])
    wanted = (math.e - 1) / (math.e + 1) / 2
    assert CsdLoss(query=1, gallery=1)(student, teacher).item() == pytest.approx(wanted)
    # Of the nearest image alone there is nothing to tell.
    assert CsdLoss(nearest=1)(student, teacher).item() == pytest.approx(0)


@pytest.mark.parametrize("nearest", [3, 9, 100])
def test_csd_agrees_with_scipy(nearest):
    special = pytest.importorskip("scipy.special")
    student, teacher = unit(9, 6), unit(9, 6, seed=1)
    total = 0.0
    for s, t in zip(student.numpy(), teacher.numpy(), strict=True):
        near = np.argsort(-(teacher.numpy() @ t))[:nearest]
        p = special.softmax((teacher.numpy() @ t)[near] / 0.01)
        q = special.softmax((teacher.numpy() @ s)[near] / 1.0)
        total += special.rel_entr(p, q).sum()
    assert CsdLoss(nearest)(2 * student, teacher).item() == pytest.approx(total / 9, rel=1e-9)


def test_d3still():
    # All rows on the circle, at degrees: teacher 0, 60, 90; student of image 0 at 90, of the others as the teacher.
    def at(*degrees):
        return rows(*[[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in degrees])

    student, teacher = at(90, 60, 90), at(0, 60, 90)
    # Own: 1 − x_00 = 1, the others 0: ‖·‖ = 1, divided by 3.
    assert D3stillLoss(3, 1, 0, 0)(student, teacher).item() == pytest.approx(1 / 3)
    # Image 0: g to 60 and 90: ½, 0; x: √3/2, 1. g difference ½, x difference √3/2 − 1 < 0: ordered wrongly, both ways.
    # r = (√3/2 − 1 − ½)/(0.1 + ½), twice: √2·|r|, divided by K − 1 = 2 and by 3 images. Images 1 and 2: r = 0.
    r = (1.5 - math.sqrt(3) / 2) / 0.6
    assert D3stillLoss(3, 0, 1, 0)(student, teacher).item() == pytest.approx(math.sqrt(2) * r / 2 / 3)
    assert D3stillLoss(3, 0, 0, 1)(student, teacher).item() == pytest.approx(0, abs=1e-9)
    # At 30 degrees the order is right: x to 60 and 90: √3/2, ½; the difference √3/2 − ½ against ½.
    near = D3stillLoss(3, 0, 0, 1)(at(30, 60, 90), teacher).item()
    assert near == pytest.approx(math.sqrt(2) * (1 - math.sqrt(3) / 2) / 0.6 / 2 / 3)


@pytest.mark.parametrize("nearest", [2, 4, 10, 50])
def test_d3still_agrees_with_a_loop_over_pairs(nearest):
    student, teacher = unit(12, 6), unit(12, 6, seed=1)
    s, t = student.numpy(), teacher.numpy()
    x, g = s @ t.T, t @ t.T
    kept = min(nearest, 12) - 1
    wrong, right = np.zeros(12), np.zeros(12)
    for i in range(12):
        near = [j for j in np.argsort(-g[i]) if j != i][:kept]
        for j in near:
            for k in near:
                if j != k:
                    r = ((x[i, j] - x[i, k]) - (g[i, j] - g[i, k])) / (0.1 + abs(g[i, j] - g[i, k]))
                    alike = (x[i, j] - x[i, k]) * (g[i, j] - g[i, k]) > 0
                    (right if alike else wrong)[i] += r**2
    expected = 50 * np.linalg.norm(1 - np.diag(x)) / 12
    expected += (2 * np.sqrt(wrong).mean() + np.sqrt(right).mean()) / kept
    assert D3stillLoss(nearest)(student, 3 * teacher).item() == pytest.approx(expected, rel=1e-9)


def test_distances_of_equal_rows_are_exactly_zero():
    x = torch.nn.functional.normalize(torch.randn(64, 512))
    x[40:] = x[:24]
    distances = pairwise_distances(x)
    assert (distances.diagonal() == 0).all() and (distances[40:, :24].diagonal() == 0).all()


@pytest.mark.parametrize("loss", [AbsoluteLoss(), RamlLoss()])
def test_other_dimension_says_the_cure(loss):
    with pytest.raises(Failure, match="8 dimensions, the teacher's 16.*--embedding-size 16.*relative"):
        loss(unit(4, 8), unit(4, 16))


@pytest.mark.parametrize(
    "pair", [(unit(4, 8), unit(5, 8)), (unit(4, 8)[0], unit(4, 8)), (unit(4, 8)[:0], unit(4, 8)[:0])]
)
def test_batches_that_do_not_match(pair):
    for loss in (AbsoluteLoss(), RelativeLoss(), RkdLoss(), PktLoss(), RamlLoss(), RelaxedContrastiveLoss()):
        with pytest.raises(Failure, match="embeddings: student"):
            loss(*pair)


def test_maps_that_do_not_match():
    maps = [torch.rand(2, 3, 4, 4)]
    with pytest.raises(Failure, match="1 of the student, 2 of the teacher"):
        AttentionLoss()(maps, maps * 2)
    with pytest.raises(Failure, match="stage maps: student"):
        AttentionLoss()(maps, [torch.rand(3, 3, 4, 4)])
    with pytest.raises(Failure, match="1 maps for 2 adaptors"):
        HintLoss([3, 3], [3, 3])(maps, maps)
    with pytest.raises(Failure, match="1 stages of the student, 0 of the teacher"):
        HintLoss([3], [])
