"""Every kind of teacher: its targets, a tiny training from it, and the gallery that it indexes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from distill.console import Failure, UsageFailure
from distill.data.embeddings_file import read_embeddings, write_embeddings
from distill.data.spec import open_data
from distill.data.split import split
from distill.evaluation import embed_images
from distill.models.checkpoint import load_checkpoint
from distill.models.info import read_info
from distill.runs import evaluate_run, train_run
from distill.training.config import StudentConfig, TeacherConfig, make_config
from distill.training.crops import CropRule
from distill.training.data import TrainImages
from distill.training.setup import prepare
from distill.training.teacher import LiveTeacher
from distill.training.teachers.joined import JoinedTeacher, parse_weights
from distill.training.teachers.kind import TeacherContext
from distill.training.teachers.registry import open_teacher

DATA = "glyphs:classes=16,faces=6,size=32"
TINY = dict(data=DATA, batch_size=16, images_per_class=4, precision="float32", threads=1, epochs=1)
RULE = CropRule(0.7, True, 3)
SOME = np.array([0, 5, 17, 40])


def student(**options):
    return make_config(StudentConfig, {**TINY, "embedding_size": 16, "method": "absolute", **options})


def untrained(folder: Path, seed: int, size: int = 16) -> Path:
    options = {**TINY, "arch": "mobilenet_v1_025", "epochs": 0, "seed": seed, "embedding_size": size}
    train_run("teacher", make_config(TeacherConfig, options), folder)
    return folder


@pytest.fixture(scope="module")
def teachers(tmp_path_factory) -> Path:
    """Checkpoints ``a`` and ``b`` of random weights, ``a.onnx`` with its description, and vectors of ``a`` in ``a.npz``."""
    folder = tmp_path_factory.mktemp("teachers")
    for seed, name in enumerate("ab"):
        untrained(folder / name, seed)
    model, info = load_checkpoint(folder / "a")
    export(model, folder / "a.onnx")
    describe(folder / "a.onnx", mean=128, std=128)
    images = open_data(DATA)
    rows = embed_images(model, info.preprocessing, images).rows
    write_embeddings(folder / "a.npz", images.keys, 3 * rows)  # a service need not scale its vectors
    return folder


def export(model: torch.nn.Module, path: Path, *, size: int = 32, batch: int | None = None, **options) -> None:
    axes = {} if batch else {"dynamic_axes": {"image": {0: "n"}, "embedding": {0: "n"}}}
    torch.onnx.export(
        model.eval(),
        (torch.zeros(batch or 2, 3, size, size),),
        path,
        input_names=["image"],
        dynamo=False,
        **{"output_names": ["embedding"], **axes, **options},
    )


def describe(model: Path, **values) -> None:
    model.with_name(model.name + ".yaml").write_text(yaml.safe_dump(values))


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> TrainImages:
    return TrainImages(split(open_data(DATA), "half", "train"), None, 1.0, 32, tmp_path_factory.mktemp("cache"))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def same(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("mirror", [False, True])
def test_an_onnx_file_gives_the_targets_of_the_network_it_was_made_of(teachers, images, mirror):
    context = TeacherContext(mirror=mirror)
    ours, file = (open_teacher(teachers / name, context) for name in ("a", "a.onnx"))
    wanted = ours.rows_of(images, SOME, 1, RULE)[0]
    assert torch.allclose(file.rows_of(images, SOME, 1, RULE)[0], wanted, atol=1e-5)
    test = split(open_data(DATA), "half", "test")
    first, second = ours.index(test), file.index(test)
    assert np.allclose(first.rows, second.rows, atol=1e-5) and np.array_equal(first.indices, second.indices)


class Channels(torch.nn.Module):
    """Two outputs: the mean of each colour channel, with layout and order of the input undone, and a map."""

    def __init__(self, nhwc: bool, bgr: bool) -> None:
        super().__init__()
        self.nhwc, self.bgr = nhwc, bgr

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.permute(0, 3, 1, 2) if self.nhwc else x
        x = x.flip(1) if self.bgr else x
        return x.mean((2, 3)), x


@pytest.mark.parametrize(("nhwc", "bgr", "batch"), [(False, False, None), (True, True, 3), (True, False, 1)])
def test_a_description_says_how_pixels_enter(tmp_path, images, nhwc, bgr, batch):
    path = tmp_path / "m.onnx"
    example = torch.zeros((batch or 2, 24, 24, 3) if nhwc else (batch or 2, 3, 24, 24))
    axes = {} if batch else {"dynamic_axes": {"image": {0: "n", 2: "h", 3: "w"}}}
    torch.onnx.export(
        Channels(nhwc, bgr), (example,), path, input_names=["image"], output_names=["colours", "map"], dynamo=False, **axes
    )  # fmt: skip
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]
    describe(
        path,
        mean=mean,
        std=std,
        range=1,
        channels="BGR" if bgr else "RGB",
        resize=30,
        **({} if batch else {"size": 24}),
    )
    found = open_teacher(path, TeacherContext())
    assert found.preprocessing.input_size == 24 and found.resize_size == 30
    pixels = images.crops(SOME, 0, RULE, 24)
    wanted = (pixels.float().mean((2, 3)) / 255 - torch.tensor(mean)) / torch.tensor(std)
    assert torch.allclose(found.features(pixels), wanted, atol=1e-4)


def test_the_whole_image_is_squeezed_on_request(tmp_path, teachers):
    from PIL import Image

    shutil.copy(teachers / "a.onnx", tmp_path / "m.onnx")
    describe(tmp_path / "m.onnx", mean=128, std=128, crop="none")
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 60:] = 255  # outside a centre crop
    found = open_teacher(tmp_path / "m.onnx", TeacherContext()).preprocessing.pixels(Image.fromarray(pixels))
    assert found.shape == (32, 32, 3) and found[:, -4:].min() == 255


KINDS = {
    "onnx": dict(teacher="a.onnx"),
    "stored": dict(teacher_embeddings="a.npz"),
    "joined": dict(teacher=("a", "b.onnx"), teacher_weights="1,0.5"),
    "joined-stored": dict(teacher=("b",), teacher_embeddings="a.npz"),
}


def located(folder: Path, options: dict) -> dict:
    """The options with paths below ``folder``."""

    def place(value):
        return tuple(folder / name for name in value) if isinstance(value, tuple) else folder / value

    return {name: value if name == "teacher_weights" else place(value) for name, value in options.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_student_learns_from_it_and_searches_its_gallery(tmp_path, teachers, monkeypatch, kind):
    if not (teachers / "b.onnx").exists():
        export(load_checkpoint(teachers / "b")[0], teachers / "b.onnx")
        describe(teachers / "b.onnx", mean=128, std=128)
    options = located(teachers, KINDS[kind]) | dict(epochs=30, lr=3e-3, embedding_size=8, cache_dir=tmp_path / "cache")
    info = train_run("student", student(**options), tmp_path / "whole")
    kept = tmp_path / "whole" / "teacher"
    assert info.training["reduction"]["from_size"] == (16 if kind in ("onnx", "stored") else 32)
    assert info.space == info.training["teacher_id"] == json.loads((kept / "teacher.json").read_text())["id"]
    assert info.training["teacher_of"]["of"]["id"]

    # Killed after two epochs, it ends with the same weights, and the reduced teacher is read, not fitted again.
    cut_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train_run("student", student(**options), tmp_path / "cut")
    monkeypatch.setattr("distill.training.reduction.crop_features", None)
    train_run("student", student(**options), tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")

    # Its queries lie nearer to their own images in the gallery of the reduced teacher than to the others.
    model, own = load_checkpoint(tmp_path / "whole")
    train = split(open_data(DATA), "half", "train")
    queries, gallery = embed_images(model, own.preprocessing, train), open_teacher(kept, TeacherContext()).index(train)
    assert np.allclose(np.linalg.norm(gallery.rows, axis=1), 1, atol=1e-5)
    cosines = queries.rows @ gallery.rows.T
    assert np.diag(cosines).mean() > cosines.mean() + 0.15
    scores = evaluate_run(tmp_path / "whole", None, None, "test", kept, False)
    assert 0 <= scores["recall@1"] <= 1
    if kind == "stored":
        reduced = evaluate_run(tmp_path / "whole", None, None, "test", kept / "embeddings.npz", False)
        assert reduced == pytest.approx(scores)


def cut_after(monkeypatch, epochs: int) -> None:
    """Interrupt the next run once its state of ``epochs`` epochs is saved."""
    from distill.training.state import RunFolder

    save = RunFolder.save

    def saved(self, state):
        save(self, state)
        if state["epochs_done"] == epochs:
            monkeypatch.setattr(RunFolder, "save", save)
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "save", saved)


def test_the_cosine_of_a_joined_teacher_is_the_weighted_mean(teachers, images):
    each = [open_teacher(teachers / name, TeacherContext()) for name in ("a", "b")]
    joined = JoinedTeacher(each, [3.0, 1.0])
    rows = joined.rows_of(images, SOME, 0, RULE)[0]
    assert rows.shape == (4, 32) and torch.allclose(rows.norm(dim=1), torch.ones(4), atol=1e-5)
    first, second = (teacher.rows_of(images, SOME, 0, RULE)[0] for teacher in each)
    assert torch.allclose(rows @ rows.T, 0.75 * first @ first.T + 0.25 * second @ second.T, atol=1e-5)
    test = split(open_data(DATA), "half", "test")
    gallery = joined.index(test).rows
    assert np.allclose(gallery[:, :16], np.sqrt(0.75) * each[0].index(test).rows, atol=1e-5)
    # Only ratios matter to the space, and every ratio is another one.
    assert JoinedTeacher(each, [6.0, 2.0]).info.id == joined.info.id != JoinedTeacher(each, [1.0, 1.0]).info.id


def test_a_mirrored_joined_teacher_is_the_same_for_both_sides(teachers, images):
    each = [open_teacher(teachers / name, TeacherContext()) for name in ("a", "b")]
    joined = JoinedTeacher(each, [1.0, 1.0], mirror=True)
    plain = JoinedTeacher(each, [1.0, 1.0])
    other_side = plain.features_of(images, SOME, 0, RULE, mirrored=True)
    unit = torch.nn.functional.normalize
    wanted = unit(unit(plain.features_of(images, SOME, 0, RULE)) + unit(other_side))
    assert torch.allclose(joined.rows_of(images, SOME, 0, RULE)[0], wanted, atol=1e-6)


@pytest.mark.parametrize("text", ["1", "1,0", "1,-1", "1,nan", "1,a", "1,2,3", "1,1_0", ""])
def test_wrong_weights_are_refused(text):
    with pytest.raises(UsageFailure, match="--teacher-weights"):
        parse_weights(text, 2)
    assert parse_weights("1,0.5", 2) == [1.0, 0.5] and parse_weights(None, 3) == [1.0] * 3


def test_stored_vectors_teach_the_images_that_have_one(tmp_path, teachers):
    whole = read_embeddings(teachers / "a.npz")
    path = tmp_path / "part.npz"
    write_embeddings(path, whole.names[3:], whole.vectors[3:])  # three training images lack one
    options = dict(teacher_embeddings=path, cache_dir=tmp_path / "cache")
    with pytest.raises(Failure, match="of 48 images 3 have none.*allow it with --teacher-missing 0.063"):
        prepare(student(**options), tmp_path / "run")
    setup = prepare(student(**options, teacher_missing=0.063), tmp_path / "run")
    assert len(setup.images) == 45 and setup.teacher.stored and setup.rule.scale == 0.7
    rows, _ = setup.teacher.live.rows_of(setup.images, np.arange(45), 9, setup.rule)
    keys = [whole.names.index(key) for key in setup.images.keys]
    assert np.allclose(rows, whole.unit(np.array(keys)), atol=1e-6)


def test_crops_of_stored_vectors_are_mild(tmp_path, teachers):
    from PIL import Image

    folder = tmp_path / "images"
    for number in range(8):
        path = folder / f"class{number // 4}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (30 * number, 0, 0)).save(path)
    names = open_data(f"folder:{folder}").keys
    write_embeddings(tmp_path / "x.npz", names, np.random.default_rng(0).normal(size=(8, 16)))
    base = dict(data=f"folder:{folder}", input_size=32, cache_dir=tmp_path / "cache", batch_size=4, images_per_class=2)
    assert prepare(student(**base, teacher_embeddings=tmp_path / "x.npz"), tmp_path / "r").rule.scale == 0.7
    assert prepare(student(**base, teacher=teachers / "a"), tmp_path / "r").rule.scale == 0.25


def test_stored_vectors_teach_without_labels(tmp_path):
    from PIL import Image

    folder = tmp_path / "flat"
    folder.mkdir()
    for number in range(24):
        Image.new("RGB", (40, 40), (10 * number, 0, 255 - 10 * number)).save(folder / f"{number}.png")
    names = open_data(f"folder:{folder}").keys
    write_embeddings(tmp_path / "x.npz", names, np.random.default_rng(0).normal(size=(24, 16)))
    options = dict(data=f"folder:{folder}", input_size=32, validation=0.4, cache_dir=tmp_path / "cache")
    info = train_run("student", student(**options, teacher_embeddings=tmp_path / "x.npz"), tmp_path / "run")
    assert info.metrics["test"] and info.metrics["validation"]
    # Without --reference, neighbours are compared with those of the teacher's vectors.
    assert evaluate_run(tmp_path / "run", None, None, "test", None, False) == pytest.approx(info.metrics["test"])


def test_a_file_of_two_images_of_one_name_is_not_guessed(tmp_path, teachers):
    from PIL import Image

    for number, root in enumerate(("one", "two")):
        for name in ("a/1.png", "b/1.png"):
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (90 * number, ord(name[0]), 0)).save(path)
    write_embeddings(tmp_path / "x.npz", ["a/1.png", "b/1.png"], np.eye(2, 16) + 0.1)
    options = dict(data=f"folder:{tmp_path / 'one'}", unlabelled=f"folder:{tmp_path / 'two'}", method="relative")
    with pytest.raises(Failure, match="a/1.png is another image in folder"):
        prepare(student(**options, teacher_embeddings=tmp_path / "x.npz", input_size=32), tmp_path / "run")


def test_one_teacher_is_recorded_as_before():
    assert student(teacher=(Path("a"),)).model_dump(mode="json")["teacher"] == "a"
    assert student(teacher=Path("a")).teachers == (Path("a"),) and student(method="triplet").teachers == ()
    assert student(teacher=[Path("a"), Path("b")]).model_dump(mode="json")["teacher"] == ["a", "b"]


def test_a_checkpoint_still_teaches_itself(tmp_path, teachers):
    setup = prepare(student(teacher=teachers / "a", cache_dir=tmp_path / "cache"), tmp_path / "run")
    assert isinstance(setup.teacher.live, LiveTeacher)
    assert setup.teacher_info.id == read_info(teachers / "a").id


def test_options_that_do_not_go_together_are_refused(tmp_path, teachers):
    one = dict(teacher_embeddings=teachers / "a.npz")
    for options, says in (
        (one | dict(teacher_weights="1"), "needs several teachers"),
        (one | dict(teacher_mirror=True, flip=True), "no mirrored crops"),
        (one | dict(method="attention"), "no stage maps"),
        (dict(teacher=teachers / "a.onnx", method="hint"), "no stage maps"),
    ):
        with pytest.raises(UsageFailure, match=says):
            prepare(student(**options, cache_dir=tmp_path / "cache"), tmp_path / "run")


def test_a_changed_teacher_is_noticed(tmp_path, teachers):
    shutil.copy(teachers / "a.npz", tmp_path / "v.npz")
    options = dict(teacher_embeddings=tmp_path / "v.npz", embedding_size=8, cache_dir=tmp_path / "cache", epochs=0)
    train_run("student", student(**options), tmp_path / "run")
    kept = tmp_path / "run" / "teacher"
    before = open_teacher(kept, TeacherContext()).info.id
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("run", "v.npz"):
        shutil.move(tmp_path / name, moved / name)
    assert open_teacher(moved / "run" / "teacher", TeacherContext()).info.id == before  # both moved together
    whole = read_embeddings(teachers / "a.npz")
    write_embeddings(moved / "v.npz", whole.names, whole.vectors[::-1])
    with pytest.raises(Failure, match="changed since"):
        open_teacher(moved / "run" / "teacher", TeacherContext())
    (moved / "v.npz").unlink()
    with pytest.raises(Failure, match="is not there any more"):
        open_teacher(moved / "run" / "teacher", TeacherContext())
    (moved / "run" / "teacher" / "layer.safetensors").write_bytes(b"x")
    with pytest.raises(Failure, match="not the layer"):
        open_teacher(moved / "run" / "teacher", TeacherContext())


def test_vectors_that_lack_test_images_are_measured_without_them(tmp_path, teachers, capsys):
    run = untrained(tmp_path / "run", 0)
    whole = read_embeddings(teachers / "a.npz")
    everything = evaluate_run(run, None, None, "test", teachers / "a.npz", False)
    assert everything == pytest.approx(evaluate_run(run, None, None, "test", None, False))  # the same network
    write_embeddings(tmp_path / "part.npz", whole.names[:-2], whole.vectors[:-2])
    capsys.readouterr()
    evaluate_run(run, None, None, "test", tmp_path / "part.npz", False)
    assert "of 48 images 2 have none" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(UsageFailure, match="embeds into 8 dimensions"):
        evaluate_run(untrained(tmp_path / "small", 0, 8), None, None, "test", teachers / "a.npz", False)
