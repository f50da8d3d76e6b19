"""A benchmark on images without labels: neighbour agreement in place of Recall, and no label is read."""

from __future__ import annotations

import io
import json
from pathlib import Path

import benchmark_fakes as fakes
import numpy as np
import pytest
from rich.console import Console

import benchmark.agreement as agreement_module
from benchmark.agreement import Neighbours
from benchmark.differences import differences
from benchmark.gates import Limits
from benchmark.options import BenchmarkOptions
from benchmark.plan import Plan
from benchmark.report import charts
from benchmark.report.html import render
from benchmark.report.neighbours import neighbour_sheet
from benchmark.result import agreement_with, read_result, write_result
from benchmark.run import measure
from benchmark.storage import asymmetric_agreement, storage_agreement
from benchmark.table import print_result
from distill.console import UsageFailure
from distill.data.imageset import ImageSet
from distill.metrics import neighbour_agreement

PLAN = Plan(seconds=0, min_samples=20, max_samples=20, warmup_max_runs=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle and 120 photos, whose folders are not looked at."""
    folder = tmp_path_factory.mktemp("unlabelled")
    photos = fakes.make_photos(folder / "photos", classes=12, per_class=10)
    fakes.make_bundle(folder / "bundle", f"folder:{photos}?labels=no")
    (folder / "student").mkdir()
    return folder


@pytest.fixture
def options(folder: Path, monkeypatch: pytest.MonkeyPatch) -> BenchmarkOptions:
    fakes.replace_engines(monkeypatch)["tflite-int8"] = fakes.ToyRunner(noise=0.3)
    fakes.replace_torch(monkeypatch)
    import benchmark.run

    class Teacher(benchmark.run.TorchModel):  # type: ignore[name-defined,misc]
        """The reference named teacher sees noise."""

        def __init__(self, name: str, directory: Path) -> None:
            super().__init__(name, directory)
            self.noise = 0.2 if name == "teacher" else 0.0

    monkeypatch.setattr("benchmark.run.TorchModel", Teacher)

    def read(self: ImageSet) -> None:
        raise AssertionError("a label was read")

    monkeypatch.setattr(ImageSet, "labels", property(read))
    monkeypatch.setattr(ImageSet, "classes", property(read))
    return BenchmarkOptions(
        folder / "bundle",
        part="all",
        checkpoint=folder / "student",
        references=[f"teacher={folder / 'student'}"],
        limits=Limits(min_agreement=20, max_agreement_drop=60, min_rank_correlation=0.1),
        plan=PLAN,
    )


def test_agreement_takes_the_place_of_recall(options: BenchmarkOptions, tmp_path: Path) -> None:
    result, evidence = measure(options)
    assert result.data.classes is None and result.data.few_classes is None and result.data.images == 120
    assert result.verdict.passed and "agreement@10 with PyTorch" in result.verdict.text
    int8, float32 = result.variant("tflite-int8"), result.variant("tflite-float32")
    assert int8.recall is None and int8.recall_drop is None and int8.flips is None and int8.cosine is not None
    with_pytorch, with_teacher = int8.agreement or []
    assert (with_pytorch.reference, with_teacher.reference) == ("PyTorch", "teacher")
    assert evidence.candidate is not None and evidence.pytorch is not None and evidence.scores is None
    expected = neighbour_agreement(evidence.pytorch, evidence.candidate)
    assert with_pytorch.overlap == pytest.approx(expected.overlap)
    assert with_pytorch.rank_correlation == pytest.approx(expected.correlation)
    low, high = with_pytorch.overlap_ci95[10]
    assert low < with_pytorch.overlap[10] < high < low + 0.15
    # The drop is that of the agreement with the teacher, paired.
    pytorch = agreement_with(result.pytorch, "teacher")  # type: ignore[arg-type]
    drop = with_teacher.overlap_drop[10]  # type: ignore[index]
    assert pytorch and drop.value == pytest.approx(pytorch.overlap[10] - with_teacher.overlap[10])
    assert drop.ci95[0] < drop.value < drop.ci95[1] and with_pytorch.overlap_drop is None
    assert agreement_with(float32, "PyTorch").overlap == {1: 1.0, 10: 1.0, 20: 1.0}  # type: ignore[union-attr]

    write_result(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == result
    assert json.loads((tmp_path / "r.json").read_text())["variants"][0]["agreement"][0]["reference"] == "PyTorch"


def test_table_and_report_show_it(options: BenchmarkOptions) -> None:
    result, evidence = measure(options)
    for width in (78, 130):
        out = io.StringIO()
        print_result(result, Console(file=out, width=width))
        text = out.getvalue()
        assert "agreement with PyTorch, %" in text and "agreement with teacher, %" in text and "rank corr." in text
        assert "R@1" not in text and "MAP@R" not in text and "120 images without labels" in " ".join(text.split())
    sheet = neighbour_sheet(evidence, result.verdict.candidate)
    assert sheet is not None and {group.kind for group in sheet.groups} == {"differ", "same"}
    assert sheet.reference == "teacher" and sum(group.total for group in sheet.groups) == 120
    for group in sheet.groups:
        for query in group.queries:
            ours, theirs = ({image.key for image in row.images} for row in query.rows)
            for row in query.rows:
                assert all(image.right == (image.key in ours & theirs) for image in row.images)
            firsts = [row.images[0].key for row in query.rows]
            assert (firsts[0] == firsts[1]) == (group.kind == "same")
    page = render(result, sheet)
    assert "Agreement@10 with teacher" in page and "Nearest images compared" in page and "no labels" in page
    shown = page.partition("<details")[0]
    assert "Recall@K, %" not in page and "MAP@R, %" not in shown and "None" not in shown
    assert charts.measure_name(result) == "agreement@10 with teacher"
    assert [bar.kind for bar in charts.bars(result)] == ["pytorch", "variant", "candidate", "variant"]
    assert charts.scatter(result, 980, 430) is not None
    assert render(result, None).count("<section") >= 4


def test_gates_that_fail_and_gates_that_need_labels(options: BenchmarkOptions) -> None:
    import dataclasses

    def limited(**limits: float) -> BenchmarkOptions:
        return dataclasses.replace(options, limits=Limits(**limits))

    result, _ = measure(limited(min_agreement=99.9, max_agreement_drop=0.001, min_rank_correlation=0.99))
    assert not result.verdict.passed and [gate.passed for gate in result.verdict.gates] == [False, False, False]
    for name, value in (("max_recall_drop", 1), ("min_recall", 50), ("max_asymmetric_drop", 1)):
        with pytest.raises(UsageFailure, match=f"--{name.replace('_', '-')} needs labels.*--min-agreement"):
            measure(limited(**{name: value}))
    with pytest.raises(UsageFailure, match="--max-agreement-drop compares.*--reference"):
        measure(dataclasses.replace(options, references=()))
    with pytest.raises(UsageFailure, match="--min-agreement needs PyTorch"):
        measure(dataclasses.replace(options, checkpoint=None, references=(), limits=Limits(min_agreement=90)))


def test_without_a_checkpoint_a_float32_variant_is_the_reference(options: BenchmarkOptions) -> None:
    import dataclasses

    bare = dataclasses.replace(options, checkpoint=None, references=(), limits=Limits())
    result, evidence = measure(bare)
    found = result.variant("tflite-int8").agreement or []
    assert [one.reference for one in found] == ["tflite-float32"] and 0.1 < found[0].overlap[10] < 1
    assert result.variant("tflite-float32").agreement is None
    assert neighbour_sheet(evidence, result.verdict.candidate) is not None


def test_limit_draws_single_images_and_parts_are_by_image(options: BenchmarkOptions) -> None:
    import dataclasses

    result, _ = measure(dataclasses.replace(options, limit=40))
    assert result.data.images == 40 and result.data.available == 120
    assert any("agreement is higher" in warning for warning in result.verdict.warnings)
    result, _ = measure(dataclasses.replace(options, part="test"))
    assert result.data.split == "0.8" and result.data.images == 24  # the bundle's own rule is for classes


def test_with_labels_it_stands_beside_recall(measured) -> None:
    result, _ = measured
    int8 = result.variant("tflite-int8")
    assert int8.recall and [one.reference for one in int8.agreement] == ["PyTorch", "teacher"]
    out = io.StringIO()
    print_result(result, Console(file=out, width=130))
    assert "agreement@10 (rank correlation) with PyTorch: tflite-float32 100.0 % (1.000)" in " ".join(
        out.getvalue().split()
    )
    assert "Nearest images compared" in render(result, None)


def test_results_without_labels_are_compared_by_agreement(measured) -> None:
    before = measured[0]
    before.data.classes = before.data.interval_classes = None
    after = before.model_copy(deep=True)
    agreement_with(after.variant("tflite-int8"), "PyTorch").overlap[10] -= 0.02  # type: ignore[union-attr]
    found = {(change.variant, change.measure.name): change for change in differences(before, after)}
    change = found["tflite-int8", "agreement@10"]
    assert change.worse and change.change == pytest.approx(-2) and not found["tflite-float32", "agreement@10"].worse
    assert ("tflite-int8", "Recall@1") not in found


def test_a_file_written_before_has_no_agreement(measured, tmp_path: Path) -> None:
    write_result(tmp_path / "r.json", measured[0])
    value = json.loads((tmp_path / "r.json").read_text())
    for model in [*value["variants"], value["pytorch"], *value["references"]]:
        model.pop("agreement")
        for row in [*(model.get("storage") or []), *(model.get("asymmetric") or [])]:
            row.pop("agreement")
    (tmp_path / "old.json").write_text(json.dumps(value))
    old = read_result(tmp_path / "old.json")
    assert old.variant("tflite-int8").agreement is None and old.agreement_reference is None
    assert "Nearest images compared" not in render(old, None)


def test_many_images_are_searched_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement_module, "QUERIES", 50)
    random = np.random.default_rng(0)
    rows = random.normal(size=(300, 8)).astype(np.float32)
    neighbours = Neighbours(300, seed=1)
    neighbours.add_reference("PyTorch", rows)
    found = neighbours.of_variant(rows + 0.3 * random.normal(size=rows.shape))[0]
    whole = neighbour_agreement(rows, rows + 0.3 * random.normal(size=rows.shape)).overlap[10]
    assert found.queries == 50 and found.overlap[10] == pytest.approx(whole, abs=0.08)


def test_stored_galleries_and_other_models_galleries() -> None:
    random = np.random.default_rng(2)
    rows = random.normal(size=(2000, 64)).astype(np.float32)
    float32, int8, bits = storage_agreement(rows)
    assert (float32.name, int8.name, bits.name) == ("float32", "int8", "int8+bits")
    assert float32.agreement is None and int8.agreement and bits.agreement
    assert 0.9 < int8.agreement.overlap[10] <= 1 and bits.agreement.overlap[10] <= int8.agreement.overlap[10]
    other = rows + 0.2 * random.normal(size=rows.shape)
    found = asymmetric_agreement(other, {"teacher": rows, "narrow": rows[:, :8]})
    assert [one.gallery for one in found] == ["teacher"] and found[0].agreement
    assert 0.3 < found[0].agreement.overlap[10] < 1
    assert asymmetric_agreement(rows, {"same": rows})[0].agreement.overlap == {1: 1.0, 10: 1.0, 20: 1.0}  # type: ignore[union-attr]
