"""Whether two specs open the same images: classes by name, images by content."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.console import Failure, UsageFailure
from distill.data.known import Known, of_classes, part_for, reopened, unlabelled_tests, warn_of_trained
from distill.data.spec import open_data
from distill.data.split import split

GLYPHS = "glyphs:classes=60,faces=2,size=32"


def photos(root: Path, classes: range, each: int = 3) -> Path:
    """One folder for each class; the pixels depend on the names alone."""
    for number in classes:
        (root / f"class_{number:02}").mkdir(parents=True)
        for image in range(each):
            random = np.random.default_rng([number, image])
            pixels = random.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"class_{number:02}" / f"{image}.png")
    return root


def record(spec: str, rule: str = "half", validation: float = 0.0) -> dict:
    """What ``model.json`` holds of a run."""
    images = open_data(spec)
    train = split(images, rule, "train", validation)
    found = {
        "spec": spec,
        "split": rule,
        "validation": validation,
        "classes": list(train.classes),
        "test_classes": list(split(images, rule, "test").classes),
        "image_sample": list(train.sample()),
    }
    if validation:
        found["validation_classes"] = list(split(images, rule, "validation", validation).classes)
    return found


def names(images) -> set[str]:
    return set(images.classes)


@pytest.mark.parametrize("other", ["glyphs:size=32,classes=60,faces=2", "glyphs:classes=60,faces=3,size=48"])
def test_the_same_classes_under_another_spec_are_split_as_the_run_split_them(other):
    ours = record(GLYPHS, "0.8")
    part, rule = part_for(open_data(other), ours, "test")
    assert rule == "0.8" and names(part) == set(ours["test_classes"]) and len(part.classes) == 12
    part, _ = part_for(open_data(other), ours, "train")
    assert names(part) == set(ours["classes"])


def test_a_subset_is_split_by_the_names_of_its_classes(tmp_path, capsys):
    whole, subset = photos(tmp_path / "whole", range(10)), photos(tmp_path / "subset", range(2, 10))
    ours = record(f"folder:{whole}")  # trained on 0 to 4
    part, _ = part_for(open_data(f"folder:{subset}"), ours, "test")
    assert names(part) == {f"class_{n:02}" for n in range(5, 10)}  # half of eight would put 6 to 9 here, and 5 to train
    assert "by the names of its classes: 5 test classes" in " ".join(capsys.readouterr().err.split())
    part, _ = part_for(open_data(f"folder:{subset}"), ours, "train")
    assert names(part) == {"class_02", "class_03", "class_04"}
    only_tests = photos(tmp_path / "tests", range(7, 10))
    assert len(part_for(open_data(f"folder:{only_tests}"), ours, "test")[0].classes) == 3
    with pytest.raises(Failure, match="none of its classes is in the train part"):
        part_for(open_data(f"folder:{only_tests}"), ours, "train")


def test_validation_classes_stay_apart_by_name_too(tmp_path):
    whole, more = photos(tmp_path / "whole", range(10)), photos(tmp_path / "more", range(13))
    ours = record(f"folder:{whole}", validation=0.2)  # 0 to 3 train, 4 validates
    parts = {
        part: names(part_for(open_data(f"folder:{more}"), ours, part)[0]) for part in ("train", "validation", "test")
    }
    assert parts["validation"] == {"class_04"}
    assert parts["train"] == {f"class_{n:02}" for n in range(4)}
    assert parts["test"] == {f"class_{n:02}" for n in range(5, 13)}


def test_other_images_and_rules_that_were_asked_for_are_split_by_the_rule():
    ours = record(GLYPHS, "0.8")
    assert part_for(open_data(GLYPHS), ours, "test", "half")[1] == "half"
    assert len(part_for(open_data(GLYPHS), ours, "test", "half")[0].classes) == 30
    foreign = ours | {"classes": ["a", "b"], "test_classes": ["c"], "spec": "folder:else"}
    part, rule = part_for(open_data(GLYPHS), foreign, "test")
    assert rule == "half" and len(part.classes) == 30
    with pytest.raises(UsageFailure, match="unknown part"):
        part_for(open_data(GLYPHS), ours, "tests")
    # An old record has no names: the same spec is the same data.
    old = {"spec": GLYPHS, "split": "0.8"}
    assert part_for(open_data(GLYPHS), old, "test")[1] == "0.8"


def test_classes_trained_on_are_found_by_name(capsys):
    ours = record(GLYPHS, "0.8")
    part, _ = part_for(open_data("glyphs:size=32,classes=60"), ours, "test", "half")
    warn_of_trained(part, Known.of(ours), "runs/student", "the test part")
    said = " ".join(capsys.readouterr().err.split())
    assert "18 of the 30 classes of the test part are classes that runs/student was trained on" in said
    part, _ = part_for(open_data("glyphs:size=32,classes=60"), ours, "test")
    warn_of_trained(part, Known.of(ours), "runs/student", "the test part")
    assert capsys.readouterr().err == ""


def test_images_trained_on_are_found_under_other_names(tmp_path, capsys):
    whole = photos(tmp_path / "whole", range(6))
    known = Known.of(record(f"folder:{whole}"))  # 0 to 2 train
    shutil.copytree(whole / "class_01", tmp_path / "renamed" / "sparrow")
    shutil.copytree(whole / "class_05", tmp_path / "renamed" / "warbler")
    renamed = open_data(f"folder:{tmp_path / 'renamed'}")
    assert not known.shares_classes(renamed)
    assert known.classes_with_known_images(renamed) == ["sparrow"]
    warn_of_trained(renamed, known, "runs/student", "the test part")
    assert "1 or more of the 2 classes" in " ".join(capsys.readouterr().err.split())
    others = photos(tmp_path / "others", range(20, 23))
    warn_of_trained(open_data(f"folder:{others}"), known, "runs/student", "the test part")
    assert capsys.readouterr().err == ""


def test_the_sample_of_a_part_is_that_part_of_the_sample(tmp_path):
    images = open_data(f"folder:{photos(tmp_path / 'all', range(40), each=20)}")
    half = split(images, "half", "train")
    everything = [digest.hex()[:16] for digest in images.digests()]
    assert list(images.sample()) == sorted(everything)[:256]
    shared = set(images.sample()) & set(half.sample())
    assert 90 < len(shared) < 166  # half of 256; five standard deviations
    # Where content does not tell images apart, there is no sample; nor does a missing file count as an image.
    assert open_data(GLYPHS).sample() == ()
    (images.root / images.keys[0]).unlink()
    assert len(images.select(range(5)).sample()) == 4


def test_test_images_among_the_unlabelled_ones_are_found(tmp_path):
    whole = photos(tmp_path / "whole", range(6))
    tests = split(open_data(f"folder:{whole}"), "half", "test")  # 3 to 5
    loose = tmp_path / "loose"
    shutil.copytree(whole / "class_04", loose / "unsorted")
    shutil.copytree(whole / "class_00", loose / "more")
    assert unlabelled_tests(open_data(f"folder:{loose}"), tests) == ("class_04",)
    named = photos(tmp_path / "named", range(5, 7), each=1)  # two folders: with labels
    Image.new("RGB", (24, 24)).save(named / "class_05" / "0.png")  # another image of a test class
    assert unlabelled_tests(open_data(f"folder:{named}"), tests) == ("class_05",)
    assert unlabelled_tests(of_classes(open_data(f"folder:{whole}"), ["class_01"]), tests) == ()


def test_a_record_without_names_is_read_from_its_data(tmp_path):
    whole = photos(tmp_path / "whole", range(6))
    bundle = {"spec": f"folder:{whole}", "split": "half", "validation": 0.34, "classes": 2}
    found = reopened(bundle)
    assert (found.trained, found.validation) == ({"class_00", "class_01"}, {"class_02"})
    assert found.tested == {"class_03", "class_04", "class_05"}
    shutil.rmtree(whole)
    for nothing in (bundle, {}, {"spec": 3, "split": "half"}, bundle | {"validation": "much"}):
        assert reopened(nothing) == Known()
    assert Known.of(bundle) == Known()
