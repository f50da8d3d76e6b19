"""From a method's text to one module: what it needs, sees, sums and gives to the optimiser."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pytorch_metric_learning")

import distill.losses
from distill.console import Failure, UsageFailure
from distill.losses import LOSSES, LossContext, LossSpec, parse_method
from distill.losses.build import build_losses

STUDENT, TEACHER = (4, 8, 12, 16), (8, 16, 24, 32)


def build(text, embedding_size=6, teacher_size=6, num_classes=4, teacher_stages=TEACHER):
    return build_losses(
        parse_method(text),
        embedding_size=embedding_size,
        teacher_size=teacher_size,
        num_classes=num_classes,
        student_stage_channels=STUDENT,
        teacher_stage_channels=teacher_stages,
    )


def inputs(n=8, teacher_size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    def maps(channels, side):
        return [random(n, c, side // 2**i, side // 2**i) for i, c in enumerate(channels)]

    raw = random(n, 6)
    return {
        "student": torch.nn.functional.normalize(raw).requires_grad_(),
        "student_raw": raw.clone().requires_grad_(),
        "teacher": torch.nn.functional.normalize(random(n, teacher_size)),
        "labels": torch.arange(n) // 2 % 4,
        "student_stages": [m.requires_grad_() for m in maps(STUDENT, 16)],
        "teacher_stages": maps(TEACHER, 32),
    }


@pytest.mark.parametrize("name", sorted(LOSSES.names()))
def test_every_method_builds_and_trains(name):
    losses, given = build(name), inputs()
    parts = losses(**given)
    assert set(parts) == {"loss", name}
    parts["loss"].backward()
    assert torch.isfinite(parts["loss"]) and parts["loss"].item() > 0
    assert parts["loss"].item() == pytest.approx(LOSSES[name].weight * parts[name].item())
    assert not parts[name].requires_grad
    rows = given["student_raw"] if losses.needs_raw else given["student"]
    reached = given["student_stages"][2] if losses.needs_stages else rows
    assert reached.grad is not None and reached.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["rkd", "relaxed_contrastive"])
def test_the_authors_form_sees_rows_before_their_norm(name):
    """The same loss on other rows: lengths count in the one, not in the other."""
    given = inputs()
    losses = build(f"{name}_raw")
    value = losses(**given)[f"{name}_raw"]
    direct = LOSSES[name].build(LossContext(6, 6, 4))(given["student_raw"], given["teacher"])
    assert value.item() == pytest.approx(direct.item())
    assert value.item() != pytest.approx(build(name)(**given)[name].item(), rel=1e-3)
    (slope,) = torch.autograd.grad(direct, given["student_raw"])
    losses(**given)["loss"].backward()
    torch.testing.assert_close(given["student_raw"].grad, slope)
    assert given["student"].grad is None


def test_raw_rows_are_for_losses_on_embeddings():
    with pytest.raises(ValueError, match="raw rows"):
        LossSpec(
            help="",
            equation="",
            source="",
            build=lambda c: None,
            stages="maps",
            default_stages=(2,),
            student_rows="raw",
        )


def test_the_sum_is_weighted_and_the_parts_are_not():
    given = inputs()
    parts = build("relative:0.5+absolute:2+triplet:0.25")(**given)
    alone = {name: build(name)(**given)[name] for name in ("relative", "absolute", "triplet")}
    for name, value in alone.items():
        assert parts[name].item() == pytest.approx(value.item())
    expected = 0.5 * alone["relative"] + 2 * alone["absolute"] + 0.25 * alone["triplet"]
    assert parts["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_stages_are_the_named_ones():
    given, other = inputs(), inputs(seed=1)
    losses = build("attention@2,4")
    value = losses(**given)["loss"].item()
    for stage, same in ((1, True), (2, False), (3, True), (4, False)):
        changed = list(given["student_stages"])
        changed[stage - 1] = other["student_stages"][stage - 1]
        assert (losses(**(given | {"student_stages": changed}))["loss"].item() == value) == same


def test_similarity_preserving_on_stages_adds_them():
    given = inputs()
    both = build("similarity_preserving@2,3")(**given)["loss"].item()
    each = [build(f"similarity_preserving@{s}")(**given)["loss"].item() for s in (2, 3)]
    assert both == pytest.approx(sum(each))


def test_metric_terms_see_labelled_rows_only():
    given = inputs()
    mask = torch.tensor([True] * 6 + [False] * 2)
    unlabelled = given | {"labels": torch.where(mask, given["labels"], -1)}
    losses = build("relative+triplet+proxy_anchor")
    parts = losses(**unlabelled, labelled_mask=mask)
    cut = losses(given["student"][:6], given["teacher"][:6], given["labels"][:6])
    assert parts["triplet"].item() == pytest.approx(cut["triplet"].item())
    assert parts["proxy_anchor"].item() == pytest.approx(cut["proxy_anchor"].item())
    # The teacher's term sees all eight.
    assert parts["relative"].item() == pytest.approx(losses(**given)["relative"].item())
    assert parts["relative"].item() != pytest.approx(cut["relative"].item())
    parts["loss"].backward()
    assert (given["student"].grad[6:].abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("name", ["triplet", "multi_similarity", "proxy_anchor", "contrastive", "triplet_semihard"])
def test_a_batch_without_labels_gives_a_connected_zero(name):
    given, losses = inputs(), build(name)
    parts = losses(given["student"], labels=given["labels"], labelled_mask=torch.zeros(8, dtype=torch.bool))
    parts["loss"].backward()
    assert parts["loss"].item() == 0
    assert (given["student"].grad == 0).all()
    assert all(p.grad is not None for p in losses.parameters())


def test_parameters_for_the_optimiser():
    losses = build("relative+hint@3,4+proxy_anchor")
    groups = losses.parameter_groups(1e-3)
    assert [group["lr"] for group in groups] == pytest.approx([1e-3, 1e-1])
    adaptors, proxies = (group["params"] for group in groups)
    assert [tuple(p.shape) for p in adaptors] == [(24, 12, 1, 1), (24,), (32, 16, 1, 1), (32,)]
    assert [tuple(p.shape) for p in proxies] == [(4, 6)]
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in losses.parameters()}
    assert build("relative+triplet").parameter_groups(1e-3) == []
    # A resumed run finds its adaptors and proxies again.
    build("relative+hint@3,4+proxy_anchor").load_state_dict(losses.state_dict())


@pytest.mark.parametrize(
    ("text", "needs", "space", "views"),
    [
        ("triplet", (False, True, False), "own", 1),
        ("absolute+triplet", (True, True, False), "teacher", 1),
        ("hint", (True, False, True), "own", 1),
        ("relaxed_contrastive", (True, False, False), "own", 2),
    ],
)
def test_what_the_trainer_asks(text, needs, space, views):
    losses = build(text)
    assert (losses.needs_teacher, losses.needs_labels, losses.needs_stages) == needs
    assert (losses.space, losses.views) == (space, views)


def test_only_what_is_needed_must_be_given():
    given = inputs()
    assert build("relative")(given["student"], given["teacher"])["loss"] > 0
    assert (
        build("triplet", teacher_size=None, teacher_stages=None)(given["student"], labels=given["labels"])["loss"] >= 0
    )
    stages = {k: given[k] for k in ("student_stages", "teacher_stages")}
    assert build("attention")(given["student"], **stages)["loss"] > 0


@pytest.mark.parametrize(
    ("text", "dropped", "message"),
    [
        ("relative", "teacher", "no teacher embeddings for 'relative'"),
        ("relative+triplet", "labels", "no labels for 'triplet'"),
        ("hint", "student_stages", "no student maps for 'hint'"),
        ("rkd_raw", "student_raw", "no student embeddings before their norm for 'rkd_raw'"),
        ("attention", "teacher_stages", "no teacher maps for 'attention'"),
    ],
)
def test_missing_inputs_are_named(text, dropped, message):
    with pytest.raises(Failure, match=message):
        build(text)(**(inputs() | {dropped: None}))


def test_what_cannot_be_built():
    with pytest.raises(UsageFailure, match="needs a teacher.*--teacher"):
        build("relative", teacher_size=None, teacher_stages=None)
    for name in ("absolute", "raml", "csd", "d3still"):
        with pytest.raises(Failure, match=f"{name}: the student's embedding has 6 dimensions, the teacher's 16"):
            build(name, teacher_size=16)
    with pytest.raises(Failure, match="0 classes"):
        build("proxy_anchor", num_classes=0)
    with pytest.raises(Failure, match="only 2 stage maps"):
        given = inputs()
        build("attention")(**(given | {"student_stages": given["student_stages"][:2]}))
    assert build("relative", teacher_size=16)(**inputs(teacher_size=16))["loss"] > 0


@pytest.mark.parametrize(
    "text", ["relative+absolute+triplet+pkt+similarity_preserving+raml", "hint+attention+hint_relative"]
)
def test_autocast_does_not_reach_the_losses(text):
    given, losses = inputs(), build(text)
    plain = losses(**given)
    with torch.autocast("cpu", torch.bfloat16):
        cast = losses(**given)
    for name, value in plain.items():
        assert cast[name].dtype == torch.float32
        assert cast[name].item() == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(distill.losses.__path__)])
def test_docstring_examples(module):
    result = doctest.testmod(importlib.import_module(f"distill.losses.{module}"))
    assert result.failed == 0


class _MarginOfTheTeacher(torch.nn.Module):
    """A loss on embeddings, or maps, of both networks, and labels."""

    def forward(self, student, teacher, labels):
        if isinstance(student, list):
            return sum((s.mean() - t.mean()).abs() for s, t in zip(student, teacher, strict=True)) * len(labels)
        return ((student - teacher) * labels[:, None]).square().sum()


def test_a_loss_may_take_the_teacher_and_labels():
    spec = LossSpec(
        help="", equation="", source="", build=lambda context: _MarginOfTheTeacher(), labels=True, stages="optional"
    )
    given, mask = inputs(), torch.tensor([True] * 5 + [False] * 3)
    with LOSSES.added("margin", spec):
        losses = build("margin:2")
        assert (losses.needs_teacher, losses.needs_labels) == (True, True)
        expected = ((given["student"] - given["teacher"]) * given["labels"][:, None])[:5].square().sum()
        assert losses(**given, labelled_mask=mask)["margin"].item() == pytest.approx(expected.item())
        with pytest.raises(Failure, match="no labels for 'margin'"):
            losses(given["student"], given["teacher"])
        maps = zip(given["student_stages"][1:3], given["teacher_stages"][1:3], strict=True)
        expected = 5 * sum((s[:5].mean() - t[:5].mean()).abs() for s, t in maps)
        assert build("margin@2,3")(**given, labelled_mask=mask)["margin"].item() == pytest.approx(expected.item())


def test_the_context_has_the_channels_of_the_chosen_stages():
    seen = []
    spec = LossSpec(
        help="", equation="", source="", build=lambda c: seen.append(c) or torch.nn.Identity(), stages="optional"
    )
    with LOSSES.added("sizes", spec):
        build("sizes@2,4", teacher_size=9)
        build("sizes")
    assert seen == [
        LossContext(6, 9, 4, student_channels=(8, 16), teacher_channels=(16, 32)),
        LossContext(6, 6, 4),
    ]


@pytest.mark.parametrize("fields", [dict(stages="maps"), dict(default_stages=(2, 3))])
def test_a_spec_whose_stages_do_not_fit_is_refused(fields):
    with pytest.raises(ValueError, match="default_stages"):
        LossSpec(help="", equation="", source="", build=lambda context: torch.nn.Identity(), **fields)
