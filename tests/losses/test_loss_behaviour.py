"""What holds for every loss: gradients, precision, invariances, small and degenerate batches."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from distill.losses import LOSSES, LossContext
from distill.losses.attention import AttentionLoss
from distill.losses.hints import HintLoss, RelativeHintLoss

CONTEXT = LossContext(student_size=6, teacher_size=6, num_classes=4)
# Every registered loss on a student's and a teacher's embeddings.
ON_EMBEDDINGS = {
    name: spec.build(CONTEXT)
    for name, spec in LOSSES.items()
    if spec.teacher and not spec.labels and spec.stages != "maps"
}
# Losses that do not vanish where the student equals the teacher.
NEVER_ZERO = ("relaxed_contrastive", "csd")
ZERO_WHEN_EQUAL = sorted(name for name in ON_EMBEDDINGS if not name.startswith(NEVER_ZERO))
RELATIONAL = sorted(name for name in ON_EMBEDDINGS if LOSSES[name].space != "teacher")
ON_MAPS = {"hint_relative": RelativeHintLoss(), "attention": AttentionLoss()}


def unit(n, d, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, d, generator=generator, dtype=dtype))


def rotation(d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]


@pytest.mark.parametrize("name", ZERO_WHEN_EQUAL)
def test_zero_with_zero_slope_when_student_is_teacher(name):
    student = unit(8, 5).requires_grad_()
    loss = ON_EMBEDDINGS[name](student, student.detach().clone())
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max().item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("name", sorted(ON_MAPS))
def test_zero_when_maps_are_the_teachers(name):
    maps = torch.rand(4, 3, 5, 5, dtype=torch.float64).requires_grad_()
    loss = ON_MAPS[name]([maps], [maps.detach().clone()])
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert torch.isfinite(maps.grad).all()


@pytest.mark.parametrize("name", sorted(ON_EMBEDDINGS))
def test_positive_and_lower_after_a_step(name):
    student, teacher = unit(8, 6).requires_grad_(), unit(8, 6, seed=1)
    loss = ON_EMBEDDINGS[name](student, teacher)
    loss.backward()
    assert loss.item() > 1e-4
    stepped = (student - 1e-3 * student.grad / student.grad.norm()).detach()
    assert ON_EMBEDDINGS[name](stepped, teacher).item() < loss.item()


@pytest.mark.parametrize("name", sorted(ON_EMBEDDINGS))
def test_slopes_agree_with_finite_differences(name):
    student, teacher = (1.3 * unit(5, 4)).requires_grad_(), unit(5, 4, seed=1)
    assert torch.autograd.gradcheck(lambda s: ON_EMBEDDINGS[name](s, teacher), (student,), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(ON_MAPS))
def test_slopes_of_map_losses(name):
    torch.manual_seed(0)
    student = torch.rand(3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.rand(3, 4, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: ON_MAPS[name]([s], [teacher]), (student,), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(ON_EMBEDDINGS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_duplicates_have_finite_slopes(name, dtype):
    student, teacher = unit(8, 6, dtype=dtype), unit(8, 6, seed=1, dtype=dtype)
    student[3] = student[0]
    teacher[5] = teacher[1]
    student[6], teacher[6] = student[7].clone(), teacher[7].clone()
    student[2] = teacher[2]
    student.requires_grad_()
    loss = ON_EMBEDDINGS[name](student, teacher)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all()
    assert student.grad.norm() < 1e3


@pytest.mark.parametrize("name", sorted(ON_EMBEDDINGS))
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_collapsed_student_and_small_batches(name, n, value):
    for teacher in (unit(n, 6, seed=1), torch.full((n, 6), 0.4, dtype=torch.float64)):
        student = torch.full((n, 6), value, dtype=torch.float64, requires_grad=True)
        loss = ON_EMBEDDINGS[name](student, teacher)
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(student.grad).all()


@pytest.mark.parametrize("name", sorted(ON_EMBEDDINGS))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name, dtype):
    student, teacher = unit(16, 32, dtype=torch.float32).to(dtype), unit(16, 32, seed=1, dtype=torch.float32).to(dtype)
    student.requires_grad_()
    loss = ON_EMBEDDINGS[name](student, teacher)
    loss.backward()
    exact = ON_EMBEDDINGS[name](student.detach().double(), teacher.double())
    assert loss.dtype == torch.float32 and student.grad.dtype == dtype
    assert loss.item() == pytest.approx(exact.item(), rel=1e-4)


@pytest.mark.parametrize("name", sorted(ON_EMBEDDINGS))
def test_no_gradient_reaches_the_teacher(name):
    student, teacher = unit(6, 4).requires_grad_(), unit(6, 4, seed=1).requires_grad_()
    ON_EMBEDDINGS[name](student, teacher).backward()
    assert teacher.grad is None and student.grad is not None


@pytest.mark.parametrize("name", RELATIONAL)
def test_relational_losses_do_not_see_a_rotation_nor_the_dimension(name):
    student, teacher = unit(9, 6), unit(9, 11, seed=1)
    expected = ON_EMBEDDINGS[name](student, teacher).item()
    turned = ON_EMBEDDINGS[name](student @ rotation(6), teacher @ rotation(11, seed=3)).item()
    assert turned == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", sorted(set(ON_EMBEDDINGS) - set(RELATIONAL)))
def test_absolute_losses_see_a_rotation_unless_it_is_shared(name):
    student = unit(9, 6)
    turned = student @ rotation(6)
    assert ON_EMBEDDINGS[name](turned, student).item() > 0.1
    teacher = unit(9, 6, seed=1)
    both = ON_EMBEDDINGS[name](turned, teacher @ rotation(6)).item()
    assert both == pytest.approx(ON_EMBEDDINGS[name](student, teacher).item(), rel=1e-9)


@pytest.mark.parametrize(
    "name", ["rkd_distance", "rkd_angle", "rkd", "pkt", "similarity_preserving", "relaxed_contrastive"]
)
def test_losses_that_do_not_see_scale(name):
    student, teacher = unit(9, 6), unit(9, 6, seed=1)
    expected = ON_EMBEDDINGS[name](student, teacher).item()
    assert ON_EMBEDDINGS[name](7 * student, teacher).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["relative", "relative_rms", "rkd_distance", "rkd_angle", "relaxed_contrastive"])
def test_distances_do_not_see_a_shift(name):
    student, teacher = unit(9, 6), unit(9, 6, seed=1)
    expected = ON_EMBEDDINGS[name](student, teacher).item()
    assert ON_EMBEDDINGS[name](student + 5, teacher).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", sorted(ON_EMBEDDINGS))
def test_order_of_images_does_not_matter(name):
    student, teacher, order = unit(9, 6), unit(9, 6, seed=1), torch.randperm(9)
    expected = ON_EMBEDDINGS[name](student, teacher).item()
    assert ON_EMBEDDINGS[name](student[order], teacher[order]).item() == pytest.approx(expected, rel=1e-9)


def test_adaptors_learn():
    torch.manual_seed(0)
    loss, maps = HintLoss([4], [6]), torch.rand(8, 4, 3, 3)
    target = torch.nn.Conv2d(4, 6, 1)(maps).detach()
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.05)
    before = loss([maps], [target]).item()
    for _ in range(300):
        optimiser.zero_grad()
        value = loss([maps], [target])
        value.backward()
        optimiser.step()
    assert value.item() < 0.01 * before


def test_dead_maps_have_finite_slopes():
    student = torch.zeros(3, 2, 4, 4, requires_grad=True)
    for loss in ON_MAPS.values():
        value = loss([student], [torch.rand(3, 2, 4, 4)])
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(student.grad).all()
