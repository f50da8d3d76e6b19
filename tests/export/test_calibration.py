from __future__ import annotations

import shutil

import numpy as np
import pytest
from export_helpers import SIDE, picture_folder

from distill.console import Failure, UsageFailure
from distill.data.preprocess import Preprocessing
from distill.data.spec import open_data
from distill.data.split import split
from export.samples.calibration import CalibrationImages, choose_samples

PRE = Preprocessing(input_size=SIDE, resize_size=SIDE)


@pytest.fixture
def data(pictures) -> dict:
    return {"spec": f"folder:{pictures}", "split": "half"}


def test_test_classes_never_calibrate_nor_check(data):
    samples = choose_samples(PRE, data, None, 200, seed=0)
    keys = (*samples.record.keys, *samples.check_keys)
    assert len(keys) == 24
    assert {key.split("/")[0] for key in keys} == {"class_0", "class_1"}


def test_no_image_does_both(data):
    samples = choose_samples(PRE, data, None, 10, seed=0)
    assert len(samples.record.keys) == len(samples.calibration) == samples.record.count == 10
    assert not set(samples.record.keys) & set(samples.check_keys)
    calibrating = {image.tobytes() for image in samples.calibration.pixels}
    assert not calibrating & {image.tobytes() for image in samples.check_pixels}


def test_the_seed_decides(data):
    draws = [choose_samples(PRE, data, None, 10, seed).record for seed in (0, 0, 1)]
    assert draws[0] == draws[1]
    assert draws[0].keys != draws[2].keys


def test_hashes_are_of_the_pixels_as_read(data):
    import hashlib

    samples = choose_samples(PRE, data, None, 5, seed=0)
    for image, digest in zip(samples.calibration.pixels, samples.record.pixels_sha256, strict=True):
        assert hashlib.sha256(np.ascontiguousarray(image)).hexdigest() == digest


def test_another_data_set_is_taken_whole(data, tmp_path):
    other = picture_folder(tmp_path / "pictures", classes=2, each=3)
    for folder in sorted(other.iterdir()):
        folder.rename(other / f"other_{folder.name}")
    samples = choose_samples(PRE, data, f"folder:{other}", 200, seed=0)
    assert samples.record.part == "all"
    assert samples.record.count + len(samples.check_keys) == 6


def test_test_classes_do_not_calibrate_under_another_spec(capfd):
    """Trained on 48 of 60 classes; by its text, the other spec was another data set, of which everything was used."""
    train = split(open_data("glyphs:classes=60"), "0.8", "train")
    data = {"spec": "glyphs:classes=60", "split": "0.8", "validation": 0.0, "classes": list(train.classes)}
    samples = choose_samples(PRE, data, "glyphs:size=64,classes=60", 200, seed=0)
    drawn = {key.split("/")[0] for key in (*samples.record.keys, *samples.check_keys)}
    assert len(samples.record.keys) == 200 and drawn <= set(train.classes)
    assert (samples.record.split, samples.record.part) == ("0.8", "train")
    assert "144 of 720 images do not calibrate" in " ".join(capfd.readouterr().err.split())
    # It draws the very images that the run's own spec gives.
    assert samples.record.keys == choose_samples(PRE, data, None, 200, seed=0).record.keys


@pytest.mark.parametrize("named", [True, False])
def test_images_of_test_classes_alone_cannot_calibrate(data, pictures, tmp_path, named):
    names = {"classes": ["class_0", "class_1"], "test_classes": ["class_2", "class_3"]}
    data = data | (names if named else {})  # an older checkpoint names none: its data is opened
    for name in ("class_2", "class_3"):
        shutil.copytree(pictures / name, tmp_path / "tests" / name)
    with pytest.raises(Failure, match=r"all its classes are test classes .*class_2, class_3"):
        choose_samples(PRE, data, f"folder:{tmp_path / 'tests'}", 200, seed=0)
    shutil.copytree(pictures / "class_0", tmp_path / "tests" / "new")
    samples = choose_samples(PRE, data, f"folder:{tmp_path / 'tests'}", 200, seed=0)
    assert {key.split("/")[0] for key in samples.record.keys} == {"new"}


def test_training_images_under_other_names_are_reported(data, pictures, tmp_path, capfd):
    train = split(open_data(data["spec"]), "half", "train")
    data = data | {"classes": list(train.classes), "image_sample": list(train.sample())}
    shutil.copytree(pictures / "class_0", tmp_path / "renamed" / "sparrow")
    shutil.copytree(pictures / "class_1", tmp_path / "renamed" / "robin")
    samples = choose_samples(PRE, data, f"folder:{tmp_path / 'renamed'}", 200, seed=0)
    assert samples.record.part == "all"
    assert "under other class names (robin, sparrow)" in " ".join(capfd.readouterr().err.split())
    samples = choose_samples(PRE, data, f"folder:{tmp_path / 'renamed'}?labels=no", 200, seed=0)
    assert samples.record.part == "all"
    assert "trained on, without their labels" in " ".join(capfd.readouterr().err.split())


def test_images_without_labels_calibrate_without_the_held_out_ones(data, pictures, tmp_path):
    images = open_data(f"folder:{pictures}?labels=no")
    train = split(images, "0.75", "train")
    record = {
        "spec": images.spec, "split": "0.75", "classes": [], "labels": False, "image_sample": list(train.sample()),
        "fingerprint": train.fingerprint(),
    }  # fmt: skip
    copy = shutil.copytree(pictures, tmp_path / "copy")
    for spec in (None, f"folder:{copy}?labels=no"):
        samples = choose_samples(PRE, record, spec, 200, seed=0)
        assert samples.record.part == "train" and samples.source.keys == train.keys


def test_float_exports_draw_check_images_only(data):
    samples = choose_samples(PRE, data, None, 0, seed=0)
    assert samples.calibration is None
    assert samples.record is None
    assert len(samples.check_pixels) == len(samples.check_keys) > 0


def test_fewer_images_than_requested_are_reported(data, capfd):
    choose_samples(PRE, data, None, 200, seed=0)
    assert "18 calibrate instead of 200" in capfd.readouterr().err.replace("\n", " ")


def test_data_that_changed_since_training_is_reported(data, capfd):
    fingerprint = choose_samples(PRE, data, None, 5, seed=0).record.fingerprint
    choose_samples(PRE, data | {"fingerprint": fingerprint}, None, 5, seed=0)
    assert "fingerprints differ" not in " ".join(capfd.readouterr().err.split())
    choose_samples(PRE, data | {"fingerprint": "0" * 64}, None, 5, seed=0)
    assert "fingerprints differ" in " ".join(capfd.readouterr().err.split())


def test_unreadable_images_are_skipped(data, tmp_path, capfd):
    folder = picture_folder(tmp_path / "some", classes=1, each=8)
    (folder / "class_0" / "3.png").write_bytes(b"no picture")
    samples = choose_samples(PRE, {}, f"folder:{folder}", 200, seed=0)
    assert samples.record.count + len(samples.check_keys) == 7
    assert "3.png" in capfd.readouterr().err


def test_too_little_data(tmp_path):
    folder = picture_folder(tmp_path / "one", classes=1, each=1)
    with pytest.raises(Failure, match="1 readable image"):
        choose_samples(PRE, {}, f"folder:{folder}", 200, seed=0)


def test_a_checkpoint_without_a_data_record():
    with pytest.raises(Failure, match="--calibration-data SPEC"):
        choose_samples(PRE, {}, None, 200, seed=0)


def test_an_unknown_spec_is_a_usage_error():
    with pytest.raises(UsageFailure):
        choose_samples(PRE, {}, "fodler:x", 200, seed=0)


def test_the_first_image_holds_both_extremes():
    images = CalibrationImages(np.full((2, SIDE, SIDE, 3), 77, np.uint8), PRE)
    first, second = images.scaled()
    assert (first.min(), first.max()) == (-1.0, 127 / 128)
    assert (second == (77 - 128) / 128).all()
    assert np.count_nonzero(first != second) == 6


def test_file_names_that_are_not_utf8(data, tmp_path):
    import os

    folder = picture_folder(tmp_path / "odd", classes=1, each=6)
    try:
        os.rename(folder / "class_0" / "1.png", os.fsencode(folder / "class_0") + b"/\xff.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    samples = choose_samples(PRE, {}, f"folder:{folder}", 200, seed=0)
    samples.record.model_dump_json().encode("utf-8")
