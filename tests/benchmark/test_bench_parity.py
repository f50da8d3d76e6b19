from __future__ import annotations

import json

import benchmark_fakes as fakes
import numpy as np
import pytest

from benchmark.devices import open_device
from benchmark.parity import compare, embed_all, geometry, recall_intervals, score
from benchmark.subject import choose_images, whole_classes
from distill.console import Failure, UsageFailure
from distill.data.preprocess import Preprocessing
from export.bundle import load_bundle

LABELS = np.repeat(np.arange(40), 5)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clusters(spread: float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(40, 16))
    return unit(centres[LABELS] + spread * random.normal(size=(len(LABELS), 16)))


def planted(reference: np.ndarray, count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the embeddings with ``count`` rows moved to another class."""
    random = np.random.default_rng(seed)
    spoiled = reference.copy()
    rows = random.choice(len(LABELS), size=count, replace=False)
    for row in rows:
        other = random.choice(np.flatnonzero(LABELS[row] != LABELS))
        spoiled[row] = reference[other]
    return spoiled, rows


def test_identical_embeddings_have_no_drop():
    reference = clusters(0.3)
    found = compare(reference, score(reference, LABELS), reference, score(reference, LABELS), LABELS)
    assert found.recall_drop[1].value == 0 and found.recall_drop[1].ci95 == (0, 0)
    assert found.mcnemar_p == 1
    assert found.cosine.min == pytest.approx(1, abs=1e-6)
    assert len(found.lost) == len(found.gained) == 0


def test_a_planted_drop_is_found_with_its_interval_and_its_queries():
    reference = clusters(0.1)
    spoiled, rows = planted(reference, 20)
    before, after = score(reference, LABELS), score(spoiled, LABELS)
    assert before.recall[1] == 1
    found = compare(reference, before, spoiled, after, LABELS)
    drop = found.recall_drop[1]
    assert drop.value == pytest.approx(before.recall[1] - after.recall[1])
    assert drop.value >= 20 / 200 - 1e-9  # every moved row is lost; some affect their neighbours
    assert 0 < drop.ci95[0] < drop.value < drop.ci95[1]
    assert set(rows) <= set(found.lost)
    assert found.mcnemar_p < 0.001
    assert found.cosine.min < 0.9


def test_flips_carry_the_keys_of_the_images():
    reference = clusters(0.1)
    spoiled, _ = planted(reference, 3)
    found = compare(reference, score(reference, LABELS), spoiled, score(spoiled, LABELS), LABELS)
    keys = [f"image{row}" for row in range(len(LABELS))]
    flips = found.flips(keys)
    assert flips.lost == len(found.lost)
    assert flips.lost_keys == [f"image{row}" for row in found.lost]


def test_gains_count_against_losses():
    reference, better = clusters(0.9), clusters(0.1)
    found = compare(reference, score(reference, LABELS), better, score(better, LABELS), LABELS)
    assert found.recall_drop[1].value < 0 and len(found.gained) > len(found.lost)


def test_queries_without_a_partner_are_left_out():
    labels = np.array([0, 0, 1, 1, 2])
    rows = unit(np.array([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 1, 0.1], [1, 0, 1.0]]))
    scores = score(rows, labels)
    assert scores.recall[1] == 1
    found = compare(rows, scores, rows, scores, labels)
    assert 4 not in found.lost and found.recall_drop[1].value == 0


def test_spaces_of_other_dimension_have_no_cosine():
    reference = clusters(0.1)
    found = compare(reference, score(reference, LABELS), reference[:, :8], score(reference[:, :8], LABELS), LABELS)
    assert found.cosine is None


def test_recall_intervals_hold_the_recall():
    scores = score(clusters(0.8), LABELS)
    for k, (low, high) in recall_intervals(scores, LABELS).items():
        assert low <= scores.recall[k] <= high


class Model:
    """A checkpoint with the interface of TorchModel and its own preprocessing."""

    def __init__(self, name: str, preprocessing: Preprocessing) -> None:
        self.name, self.preprocessing, self.seen = name, preprocessing, []

    def add(self, pixels):
        self.seen.append(pixels)

    def embeddings(self):
        return np.concatenate([fakes.ToyRunner().embed(pixels) for pixels in self.seen])


def test_variants_and_checkpoints_see_the_same_pixels_in_one_pass(bundle_dir, toy_engines):
    bundle = load_bundle(bundle_dir)
    subject = choose_images(bundle, None, None)
    model = Model("same", bundle.manifest.preprocessing.model_copy(update={"mean": (0.0, 0.0, 0.0)}))
    found = embed_all(open_device("host"), bundle, ["tflite-float32"], subject.images, [model], 1)
    assert np.array_equal(found.models["same"], found.variants["tflite-float32"].embeddings)
    assert len(found.indices) == len(subject.images)


def test_a_checkpoint_with_another_geometry_keeps_its_own(bundle_dir, toy_engines):
    bundle = load_bundle(bundle_dir)
    subject = choose_images(bundle, None, None)
    zoomed = bundle.manifest.preprocessing.model_copy(update={"resize_size": 24})
    assert geometry(zoomed) != geometry(bundle.manifest.preprocessing)
    model = Model("zoomed", zoomed)
    found = embed_all(open_device("host"), bundle, ["tflite-float32"], subject.images, [model], 1)
    assert len(found.models["zoomed"]) == len(found.indices)
    assert not np.allclose(found.models["zoomed"], found.variants["tflite-float32"].embeddings)


def test_a_variant_that_fails_is_a_result(bundle_dir, toy_engines):
    toy_engines["tflite-int8"] = RuntimeError("no such operator\nand a long trace")

    class Halfway(fakes.ToyRunner):
        def embed(self, pixels):
            raise ValueError("shape")

    class Nan(fakes.ToyRunner):
        def embed(self, pixels):
            return np.full((len(pixels), 48), np.nan, np.float32)

    bundle = load_bundle(bundle_dir)
    images = choose_images(bundle, None, None).images
    found = embed_all(open_device("host"), bundle, list(fakes.VARIANTS), images, [], 1).variants
    assert found["tflite-int8"].error == "no such operator" and found["tflite-float32"].embeddings is not None
    toy_engines["tflite-int8"], toy_engines["onnx-float32"] = Halfway(), Nan()
    found = embed_all(open_device("host"), bundle, list(fakes.VARIANTS), images, [], 1).variants
    assert found["tflite-int8"].error == "shape"
    assert "NaN" in found["onnx-float32"].error and found["onnx-float32"].embeddings is None


def test_the_default_is_the_test_part_of_the_recorded_split(bundle_dir):
    subject = choose_images(load_bundle(bundle_dir), None, None)
    assert subject.images.classes == ("class04", "class05", "class06", "class07")
    assert (subject.part, subject.split, subject.available) == ("test", "half", 20)


def test_split_and_part_can_be_chosen(bundle_dir, photos):
    bundle = load_bundle(bundle_dir)
    assert len(choose_images(bundle, f"folder:{photos}", "6").images.classes) == 2
    assert len(choose_images(bundle, None, None, "all").images.classes) == 8
    assert choose_images(bundle, None, None, "train").images.classes[0] == "class00"
    with pytest.raises(UsageFailure, match="--part tests"):
        choose_images(bundle, None, None, "tests")


def test_classes_of_one_image_cannot_be_retrieved(bundle_dir, tmp_path):
    lonely = fakes.make_photos(tmp_path / "lonely", classes=6, per_class=1)
    with pytest.raises(Failure, match="no class has two"):
        choose_images(load_bundle(bundle_dir), f"folder:{lonely}", None)


def test_a_limit_takes_whole_classes():
    chosen = whole_classes(LABELS, 23, seed=0)
    _classes, counts = np.unique(LABELS[chosen], return_counts=True)
    assert len(chosen) == 25 and set(counts) == {5}
    assert np.array_equal(chosen, whole_classes(LABELS, 23, seed=0))
    assert not np.array_equal(chosen, whole_classes(LABELS, 23, seed=1))
    assert len(np.unique(LABELS[whole_classes(LABELS, 1, 0)])) == 2
    assert len(whole_classes(LABELS, 10_000, 0)) == len(LABELS)


def test_images_that_changed_since_training_cause_a_warning(bundle_dir, photos, tmp_path):
    def recorded(fingerprint):
        manifest = json.loads((bundle_dir / "bundle.json").read_text())
        manifest["provenance"]["source"]["data"]["fingerprint"] = fingerprint
        (bundle_dir / "bundle.json").write_text(json.dumps(manifest))
        return load_bundle(bundle_dir)

    trained = choose_images(load_bundle(bundle_dir), None, None, "train").images.fingerprint()
    assert not choose_images(recorded(trained), None, None).changed
    assert choose_images(recorded("0" * 64), None, None).changed
    assert not choose_images(recorded("0" * 64), None, "6").changed  # another split: nothing to compare with
    (photos / "class00" / "0.png").write_bytes(b"changed")
    assert choose_images(recorded(trained), None, None).changed
