"""Building a gallery: what goes in, what is skipped, and that nothing is embedded twice."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from gallery_photos import write_photo

from distill.console import Failure, UsageFailure
from distill.data.decode import decode
from export.bundle import load_bundle, open_variant
from gallery import check_gallery, open_gallery, row_codes
from gallery.build import IndexOptions, build_gallery
from gallery.images import open_images
from gallery.search import search_gallery


@pytest.fixture
def bundle(bundle_dir: Path):
    return load_bundle(bundle_dir)


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the images that were really embedded, in order."""
    from gallery import build as module

    seen: list[str] = []
    original = module._one_batch

    def counted(runner, bundle, images, batch, *rest):
        seen.extend(images.keys[i] for i in batch)
        return original(runner, bundle, images, batch, *rest)

    monkeypatch.setattr(module, "_one_batch", counted)
    return seen


def content(path: Path) -> dict[str, bytes]:
    gallery = open_gallery(path)
    check_gallery(gallery)
    return {name: b"".join(gallery.section(name)) for name in gallery.header.sections}


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("variant", ["tflite-float32", "onnx-float32"])
def test_a_flat_folder(bundle, photos: Path, tmp_path: Path, variant: str, dtype: str) -> None:
    out = tmp_path / "made" / "g.gallery"
    done = build_gallery(bundle, open_images(str(photos)), out, IndexOptions(variant=variant, dtype=dtype))
    gallery = open_gallery(out)
    check_gallery(gallery)
    assert gallery.ids() == [
        *(f"2024/Ausflug ä 日本/{i}.png" for i in range(3)),
        *(f"IMG_{i:04d}.jpg" for i in range(6)),
    ]
    runner = open_variant(bundle, variant)
    for row, name in enumerate(gallery.ids()):
        pixels = bundle.manifest.preprocessing.pixels(decode(photos / name, name))
        expected = runner.embed(pixels[None])[0]
        assert np.array_equal(gallery.embeddings[row], row_codes(expected[None])[0] if dtype == "int8" else expected)
        assert PIL.Image.open(io.BytesIO(gallery.thumbnail(row))).size == (30, 24)  # never enlarged
    assert (done.count, done.added, done.kept, done.skipped, done.written) == (9, 9, 0, 0, True)
    assert done.bytes == out.stat().st_size
    assert gallery.model.sha256 == bundle.variant(variant).sha256 and gallery.model.variant == variant
    assert (out.parent / gallery.header.bundle).resolve() == bundle.directory.resolve()
    assert [p.name for p in out.parent.iterdir()] == ["g.gallery"]  # no trace of the work


def test_an_update_adds_drops_and_embeds_only_what_changed(
    bundle, photos: Path, tmp_path: Path, embedded: list[str]
) -> None:
    out = tmp_path / "g.gallery"
    build_gallery(bundle, open_images(str(photos)), out)
    before = out.read_bytes()
    embedded.clear()
    done = build_gallery(bundle, open_images(str(photos)), out)
    assert not embedded and not done.written and done.kept == 9 and out.read_bytes() == before

    (photos / "IMG_0001.jpg").unlink()
    write_photo(photos / "IMG_0002.jpg", 99, (40, 20))
    os.utime(photos / "IMG_0003.jpg", ns=(1, 1))
    write_photo(photos / "AAA.jpg", 50)
    done = build_gallery(bundle, open_images(str(photos)), out)
    assert sorted(embedded) == ["AAA.jpg", "IMG_0002.jpg", "IMG_0003.jpg"]
    assert (done.count, done.added, done.changed, done.kept, done.dropped) == (9, 1, 2, 6, 1)
    fresh = tmp_path / "fresh.gallery"
    build_gallery(bundle, open_images(str(photos)), fresh)
    assert content(out) == content(fresh)  # as if it had been made at once

    embedded.clear()
    done = build_gallery(bundle, open_images(str(photos)), out, IndexOptions(overwrite=True))
    assert len(embedded) == 9 and done.added == 9 and content(out) == content(fresh)


def test_sign_bits_are_added_without_embedding_again(bundle, photos: Path, tmp_path: Path, embedded: list[str]) -> None:
    out = tmp_path / "g"
    build_gallery(bundle, open_images(str(photos)), out)
    assert open_gallery(out).bits is None
    embedded.clear()
    build_gallery(bundle, open_images(str(photos)), out, IndexOptions(bits=True))
    assert not embedded and open_gallery(out).bits is not None
    check_gallery(open_gallery(out))


KILLED = """
import os, signal, sys
from pathlib import Path
import gallery.build as module
from export.bundle import load_bundle
from gallery.images import open_images
from gallery.journal import Journal
module.BATCH = 3
when = sys.argv[4]
append, write = Journal.append, module.write_to

def dying_append(self, records):
    append(self, records)
    if when == "embedding" and len(self.entries) >= 6:
        os.kill(os.getpid(), signal.SIGKILL)
    if when == "torn" and len(self.entries) >= 6:
        self._file.truncate(self._end - 5)
        os.kill(os.getpid(), signal.SIGKILL)

def dying_write(file, content):
    if when == "writing":
        file.write(b"x" * 100)
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return write(file, content)

Journal.append, module.write_to = dying_append, dying_write
module.build_gallery(
    load_bundle(sys.argv[1]), open_images(sys.argv[2]), Path(sys.argv[3]), module.IndexOptions(workers=1)
)
"""


@pytest.mark.parametrize("when, again", [("embedding", 3), ("torn", 4), ("writing", 0)])
def test_after_kill_9_nothing_is_embedded_again(
    bundle, bundle_dir: Path, photos: Path, tmp_path: Path, embedded: list[str], when: str, again: int
) -> None:
    out, whole = tmp_path / "out" / "g", tmp_path / "whole"
    command = [sys.executable, "-c", KILLED, str(bundle_dir), str(photos), str(out), when]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == -9, done.stderr
    assert not out.exists()
    result = build_gallery(bundle, open_images(str(photos)), out)
    assert len(embedded) == again and result.resumed == 9 - again and result.count == 9
    build_gallery(bundle, open_images(str(photos)), whole)
    assert content(out) == content(whole)
    assert [p.name for p in out.parent.iterdir()] == ["g"]


def test_an_image_that_changed_meanwhile_is_embedded_again(
    bundle, bundle_dir, photos: Path, tmp_path: Path, embedded: list[str]
) -> None:
    out = tmp_path / "g"
    subprocess.run(
        [sys.executable, "-c", KILLED, str(bundle_dir), str(photos), str(out), "writing"], timeout=120, check=False
    )
    write_photo(photos / "IMG_0000.jpg", 77, (50, 50))
    (photos / "IMG_0005.jpg").unlink()
    build_gallery(bundle, open_images(str(photos)), out)
    assert embedded == ["IMG_0000.jpg"]
    build_gallery(bundle, open_images(str(photos)), tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")


def test_what_another_model_left_unfinished_is_not_used(
    bundle, bundle_dir, photos: Path, tmp_path: Path, embedded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "g"
    subprocess.run(
        [sys.executable, "-c", KILLED, str(bundle_dir), str(photos), str(out), "writing"], timeout=120, check=False
    )
    done = build_gallery(bundle, open_images(str(photos)), out, IndexOptions(variant="onnx-float32"))
    assert len(embedded) == 9 and done.resumed == 0
    assert "an unfinished run with another model or kind" in " ".join(capsys.readouterr().err.split())


def test_bad_files_are_counted_once(bundle, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (photos / "empty.png").write_bytes(b"")
    (photos / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    whole = (photos / "IMG_0000.jpg").read_bytes()
    (photos / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "note.txt").write_text("no picture")
    (photos / "phone.HEIC").write_bytes(b"x")
    (photos / ".hidden.jpg").write_bytes(b"x")
    done = build_gallery(bundle, open_images(str(photos)), tmp_path / "g")
    told = " ".join(capsys.readouterr().err.split())
    assert done.count == 9 and done.skipped == 4
    assert told.count("cannot be read") == 1 and "skipped 4 of 13 images" in told
    assert "1 .heic left out" in told
    assert {problem.key for problem in done.problems} == {"broken.jpg", "empty.png", "gone.jpg", "half.jpg"}
    again = build_gallery(bundle, open_images(str(photos)), tmp_path / "g")
    assert not again.written and again.skipped == 4

    write_photo(photos / "broken.jpg", 5)  # repaired
    assert build_gallery(bundle, open_images(str(photos)), tmp_path / "g").added == 1
    (photos / "IMG_0000.jpg").write_bytes(b"spoiled")
    done = build_gallery(bundle, open_images(str(photos)), tmp_path / "g")
    assert done.dropped == 1 and "IMG_0000.jpg" not in open_gallery(tmp_path / "g").ids()


def test_nothing_readable_leaves_what_was_there(bundle, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "g"
    build_gallery(bundle, open_images(str(photos)), out)
    before = out.read_bytes()
    for path in photos.rglob("*.*"):
        path.write_bytes(b"spoiled")
    with pytest.raises(Failure, match="no readable image among 9"):
        build_gallery(bundle, open_images(str(photos)), out)
    assert out.read_bytes() == before and [p.name for p in out.parent.iterdir()] == ["g"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(Failure, match="no images in it"):
        open_images(str(tmp_path / "empty"))


def test_one_image_and_copies(bundle, tmp_path: Path) -> None:
    write_photo(tmp_path / "one" / "a.png", 1)
    done = build_gallery(bundle, open_images(str(tmp_path / "one")), tmp_path / "g")
    assert done.count == 1
    for name in ("b.png", "c/a.png"):
        (tmp_path / "one" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "one" / name).write_bytes((tmp_path / "one" / "a.png").read_bytes())
    build_gallery(bundle, open_images(str(tmp_path / "one")), tmp_path / "g")
    gallery = open_gallery(tmp_path / "g")
    assert gallery.ids() == ["a.png", "b.png", "c/a.png"]
    runner = open_variant(bundle, "tflite-float32")
    query = runner.embed(bundle.manifest.preprocessing.pixels(decode(tmp_path / "one" / "b.png", "b"))[None])
    assert search_gallery(gallery, query, 5).rows.tolist() == [[0, 1, 2]]  # equal: in the order of the rows


def test_names_that_are_no_text(bundle, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "e\u0301 \u202e😀.jpg").write_bytes((photos / "IMG_0000.jpg").read_bytes())
    strange = os.fsencode(photos) + b"/\xff\xfe.jpg"
    with open(strange, "wb") as file:
        file.write((photos / "IMG_0001.jpg").read_bytes())
    done = build_gallery(bundle, open_images(str(photos)), tmp_path / "g")
    assert "e\u0301 \u202e😀.jpg" in open_gallery(tmp_path / "g").ids()
    assert done.skipped == 1 and "is not UTF-8" in " ".join(capsys.readouterr().err.split())


def test_thumbnails_carry_no_metadata(bundle, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif[0x0112] = 6  # lies on its side
    write_photo(tmp_path / "p" / "a.jpg", 1, (400, 200), exif=exif, comment=b"SecretComment")
    assert b"Secret" in (tmp_path / "p" / "a.jpg").read_bytes()
    build_gallery(bundle, open_images(str(tmp_path / "p")), tmp_path / "g", IndexOptions(thumbnails=64))
    small = open_gallery(tmp_path / "g").thumbnail(0)
    assert b"Secret" not in small and b"Exif" not in small
    assert PIL.Image.open(io.BytesIO(small)).size == (32, 64)
    build_gallery(bundle, open_images(str(tmp_path / "p")), tmp_path / "h", IndexOptions(thumbnails=0))
    assert not open_gallery(tmp_path / "h").has_thumbnails


def test_workers_do_not_change_the_result(
    bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gallery.build.BATCH", 2)
    build_gallery(bundle, open_images(str(photos)), tmp_path / "one", IndexOptions(workers=1))
    build_gallery(bundle, open_images(str(photos)), tmp_path / "four", IndexOptions(workers=4))
    assert content(tmp_path / "one") == content(tmp_path / "four")


def test_a_gallery_of_something_else_is_not_replaced(bundle, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "g"
    build_gallery(bundle, open_images(str(photos)), out)
    before = out.read_bytes()
    for options, says in [
        (IndexOptions(variant="onnx-float32"), "another model, toy/tflite-float32"),
        (IndexOptions(dtype="float32"), "holds int8 embeddings, not float32"),
        (IndexOptions(thumbnails=64), "thumbnails of 128 pixels, not 64"),
        (IndexOptions(thumbnails=0), "thumbnails of 128 pixels, not 0"),
    ]:
        with pytest.raises(UsageFailure, match=f"{says}.*--overwrite"):
            build_gallery(bundle, open_images(str(photos)), out, options)
    assert out.read_bytes() == before
    build_gallery(bundle, open_images(str(photos)), out, IndexOptions(variant="onnx-float32", overwrite=True))
    assert open_gallery(out).model.variant == "onnx-float32"
    for other in (tmp_path / "note.txt", tmp_path / "none"):
        other.write_bytes(b"my diary" if other.suffix else b"")
        with pytest.raises(UsageFailure, match="is not a gallery"):
            build_gallery(bundle, open_images(str(photos)), other, IndexOptions(overwrite=True))
    with pytest.raises(UsageFailure, match="is a folder"):
        build_gallery(bundle, open_images(str(photos)), photos)


def test_a_damaged_gallery_is_told_and_replaced_on_request(bundle, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "g"
    build_gallery(bundle, open_images(str(photos)), out)
    data = bytearray(out.read_bytes())
    data[open_gallery(out).header.sections["embeddings"].offset + 3] ^= 1
    out.write_bytes(data)
    with pytest.raises(Failure, match="SHA-256 differs.*--overwrite"):
        build_gallery(bundle, open_images(str(photos)), out)
    build_gallery(bundle, open_images(str(photos)), out, IndexOptions(overwrite=True))
    check_gallery(open_gallery(out))


FULL = """
import resource, sys
from distill.console import run_app
from gallery.cli import app
limit = int(sys.argv[1])
sys.dont_write_bytecode = True  # importlib would leave a cut one, and every later start would fail
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
raise SystemExit(run_app(app, sys.argv[2:]))
"""


@pytest.mark.parametrize("share", [0.05, 0.4, 1])
def test_a_file_that_cannot_grow_costs_nothing_that_was_there(
    bundle, bundle_dir: Path, photos: Path, tmp_path: Path, share: float, embedded: list[str]
) -> None:
    """As on a full disk: writing fails at the journal's head, within it, or in the gallery."""
    out, whole = tmp_path / "out" / "g", tmp_path / "whole"
    build_gallery(bundle, open_images(str(photos)), whole)
    limit = int(share * (whole.stat().st_size - 1))
    command = [sys.executable, "-c", FULL, str(limit), str(bundle_dir), str(photos), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (
        done.returncode == 1
        and done.stderr.strip().splitlines()[-1].startswith("error:")
        and "Traceback" not in done.stderr
    )
    assert not out.exists()
    embedded.clear()
    build_gallery(bundle, open_images(str(photos)), out)
    assert content(out) == content(whole)
    assert len(embedded) == (0 if share == 1 else 9)  # once all was in the journal, nothing is embedded again


def test_a_full_disk_names_the_cure(bundle, photos: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    import errno

    from distill.console import run_app
    from gallery.cli import app

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gallery.build.write_to", full)
    assert run_app(app, [str(bundle.directory), str(photos), "--out", str(tmp_path / "g")]) == 1
    assert "No space left on device (free some space" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "g").exists()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full here")
def test_a_full_disk_names_the_place_while_embedding_too(tmp_path: Path) -> None:
    from gallery.journal import Journal, Record

    journal = Journal(tmp_path / "work", {}, 2, np.int8)
    journal._file = open("/dev/full", "ab")
    with pytest.raises(OSError, match="No space left") as failure:
        journal.append([Record("a.jpg", (1, 2), np.zeros(2, np.int8), b"")])
    assert failure.value.filename == str(tmp_path / "work")


def test_two_at_once(bundle, photos: Path, tmp_path: Path) -> None:
    from gallery.journal import Journal

    fcntl = pytest.importorskip("fcntl")
    assert fcntl
    (tmp_path / "out").mkdir()
    held = Journal(tmp_path / "out" / ".g.work", {}, 4, np.int8)
    with pytest.raises(Failure, match="another distill-index is running"):
        build_gallery(bundle, open_images(str(photos)), tmp_path / "out" / "g")
    held.close(remove=True)
    build_gallery(bundle, open_images(str(photos)), tmp_path / "out" / "g")


def test_merged_rows_come_in_the_asked_order(tmp_path: Path) -> None:
    from gallery.journal import Journal, MergedRows, Record

    journal = Journal(tmp_path / "w", {"a": 1}, 4, np.int8)
    journal.append(Record(f"{i}", (i, 0), np.full(4, i, np.int8), bytes([i])) for i in range(50))
    reader = journal.read()
    rows = MergedRows([journal.entries[f"{i}"] for i in (7, 3, 49)], None, reader, 4, np.dtype(np.int8))
    assert rows[1:3].tolist() == [[3] * 4, [49] * 4]
    assert list(rows.thumbnails()) == [b"\7", b"\3", b"1"] and rows.thumbnail_sizes().tolist() == [1, 1, 1]
    reader.close()
    journal.close(remove=True)


def test_data_specs_parts_and_limits(bundle, photos: Path, tmp_path: Path) -> None:
    images = open_images("glyphs:classes=6,faces=2", part="test")
    assert len(images) == 6
    build_gallery(bundle, images, tmp_path / "g")
    assert open_gallery(tmp_path / "g").ids() == list(images.keys)
    assert not build_gallery(bundle, images, tmp_path / "g").written  # images that are not files are recognized too
    changed = build_gallery(bundle, open_images("glyphs:classes=6,faces=2,size=48", part="test"), tmp_path / "g")
    assert changed.changed == 6
    assert [open_images(str(photos), limit=n).keys[-1] for n in (1, 3)] == ["2024/Ausflug ä 日本/0.png", "IMG_0003.jpg"]
    assert len(open_images(f"folder:{photos}?labels=yes")) == 3 and len(open_images(str(photos), limit=100)) == 9
    for text, says in [
        (str(tmp_path / "nowhere"), "no such folder"),
        (str(photos / "IMG_0000.jpg"), "is a file"),
        ("folders:x", "did you mean"),
    ]:
        with pytest.raises(UsageFailure, match=says):
            open_images(text)
    with pytest.raises(UsageFailure, match="write folder:"):
        open_images(str(photos), part="test")


def test_a_table_whose_paths_leave_its_folder(bundle, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "list.csv").write_text("path,class\n../photos/IMG_0000.jpg,a\n")
    with pytest.raises(Failure, match="no readable image.*not a plain relative path"):
        build_gallery(bundle, open_images(f"csv:{tmp_path}/sub/list.csv"), tmp_path / "g")
    (tmp_path / "list.csv").write_text("path,class\nphotos/IMG_0000.jpg,a\n")
    build_gallery(bundle, open_images(f"csv:{tmp_path}/list.csv"), tmp_path / "g")
    assert open_gallery(tmp_path / "g").ids() == ["photos/IMG_0000.jpg"]


def test_memory_of_an_image_while_indexing(bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python integers and lists took 730 bytes for each image; docs/gallery.md tells what is left."""
    import tracemalloc

    from distill.data.files import FileImageSet
    from gallery import build as module
    from gallery.journal import Record

    def embed_nothing(runner, bundle, images, batch, stamps, options):
        row = np.zeros(bundle.manifest.embedding_size, np.int8)
        return [Record(images.keys[i], (int(stamps[i, 0]), int(stamps[i, 1])), row, b"") for i in batch], []

    monkeypatch.setattr(module, "_one_batch", embed_nothing)
    monkeypatch.setattr(module, "change_stamps", lambda images: np.full((len(images), 2), 2**61, np.uint64))
    peaks, counts = [], (6_000, 24_000)
    for count in counts:
        tracemalloc.start()
        try:
            keys = [f"2024/album {i // 1000:03d}/IMG_20240101_{i:06d}.jpg" for i in range(count)]
            images = FileImageSet("photos", "photos", tmp_path, keys, [""] * count)
            del keys
            build_gallery(bundle, images, tmp_path / f"{count}.gallery", IndexOptions(thumbnails=0, workers=1))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    each = (peaks[1] - peaks[0]) / (counts[1] - counts[0])
    print(f"{each:.0f} bytes for each image")
    assert each < 550
