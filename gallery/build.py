"""Build a gallery from a bundle and images: resumable, and incremental if the gallery exists."""

from __future__ import annotations

import os
import queue
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from distill.console import Failure, UsageFailure, progress
from distill.data.batches import read_ahead, warn_unreadable
from distill.data.imageset import ImageSet, UnreadableImage
from export.bundle import Bundle, VariantRunner, open_variant
from gallery.codes import row_codes
from gallery.format import Gallery, check_gallery, open_gallery
from gallery.images import change_stamps, thumbnail
from gallery.journal import Entry, Journal, MergedRows, Record
from gallery.models import choose_variant, model_of
from gallery.schema import Model, id_problem
from gallery.write import BITS_FROM, MAGIC, Content, write_to

__all__ = ["IndexOptions", "IndexReport", "build_gallery"]

BATCH = 32


@dataclass(frozen=True)
class IndexOptions:
    """Options of :func:`build_gallery`.

    Attributes:
        variant: Variant of the bundle that embeds; None: ``tflite-int8``, or else the bundle's first.
        dtype: ``int8`` or ``float32``.
        thumbnails: Longer side of the thumbnails in pixels; 0: none.
        bits: Whether to write sign bits; None: from 100,000 images up.
        workers: Number of batches embedded in parallel; None: one per core.
        overwrite: Embed everything again, whatever gallery exists.
    """

    variant: str | None = None
    dtype: str = "int8"
    thumbnails: int = 128
    bits: bool | None = None
    workers: int | None = None
    overwrite: bool = False


@dataclass
class IndexReport:
    """What :func:`build_gallery` did.

    Attributes:
        path: Path of the gallery.
        model: Model that embedded the images.
        count: Number of images in the gallery.
        added: Number of new images.
        changed: Number of images embedded again because they changed.
        kept: Number of images taken from the previous gallery.
        dropped: Number of images of the previous gallery that no longer exist.
        resumed: Number of added and changed images that an unfinished run had already embedded.
        skipped: Number of images that cannot be read.
        seconds: Duration.
        bytes: Size of the file.
        written: False if the previous gallery was up to date.
        problems: The images that cannot be read, with reasons.
    """

    path: Path
    model: Model
    count: int = 0
    added: int = 0
    changed: int = 0
    kept: int = 0
    dropped: int = 0
    resumed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    bytes: int = 0
    written: bool = True
    problems: list[UnreadableImage] = field(default_factory=list)


def build_gallery(
    bundle: Bundle, images: ImageSet, out: str | Path, options: IndexOptions = IndexOptions()
) -> IndexReport:
    """Embed ``images`` and write them to the gallery ``out``.

    A killed run continues where it stopped. If ``out`` is a gallery of the same model, it is updated: new images are
    added, deleted ones dropped, changed ones (another size or modification time) embedded again, all others kept.
    Rows are in the order of ``images``.

    Args:
        bundle: Bundle with the model, from :func:`export.bundle.load_bundle`.
        images: Images to index, e.g. from :func:`gallery.open_images`.
        out: Path of the gallery to write or update.
        options: See :class:`IndexOptions`.

    Raises:
        UsageFailure: ``out`` is not a gallery, or a gallery of another model or kind.
        Failure: no image is readable, an embedding is not finite, or another run is writing this gallery.
        OSError: the file cannot be written.

    Example:
        >>> from export.bundle import load_bundle
        >>> from gallery import build_gallery, open_images
        >>> report = build_gallery(load_bundle("runs/bundle"), open_images("photos"), "new.gallery")
        >>> report.count, report.added, report.skipped
        (9, 9, 0)
    """
    out, started = Path(out), time.monotonic()
    variant = choose_variant(bundle, options.variant)
    model = model_of(bundle, variant)
    old = _previous(out, model, options)
    report = IndexReport(out, model)
    keys, stamps = images.keys, change_stamps(images)
    problems = [UnreadableImage(key, f"its name {problem}") for key in keys if (problem := id_problem(key))]
    known = _rows_by_id(old)
    dimension, dtype = bundle.manifest.embedding_size, np.dtype(options.dtype)

    out.parent.mkdir(parents=True, exist_ok=True)
    journal = Journal(out.parent / f".{out.name}.work", _binding(model, options), dimension, dtype.type)
    done = False
    try:
        # Embed what neither the old gallery nor an unfinished run has embedded.
        bad = {problem.key for problem in problems}
        fresh = array(
            "q",
            (i for i, key in enumerate(keys) if key not in bad and _kept_row(known, key, _stamp(stamps, i)) is None),
        )
        todo = array("q", (i for i in fresh if not _is_embedded(journal, keys[i], _stamp(stamps, i))))
        report.resumed = len(fresh) - len(todo)
        if todo:
            problems += _embed(bundle, variant.name, images, todo, stamps, journal, options)
        report.problems, report.skipped = problems, len(problems)
        warn_unreadable(images, problems)

        # Collect the rows in the order of the images, from the old gallery or the journal.
        bad = {problem.key for problem in problems}
        order = array("q", (i for i in range(len(keys)) if keys[i] not in bad))
        kept = [_kept_row(known, keys[i], _stamp(stamps, i)) for i in order]
        places = [journal.entries[keys[i]] if row is None else row for i, row in zip(order, kept, strict=True)]
        report.count = len(order)
        report.kept = sum(row is not None for row in kept)
        report.changed = sum(row is None and keys[i] in known for i, row in zip(order, kept, strict=True))
        report.added = report.count - report.kept - report.changed
        report.dropped = len(known) - report.kept - report.changed

        report.written = not _same(old, places, options)
        if report.written:
            content = _content(out, bundle, model, [keys[i] for i in order], stamps[np.asarray(order)], options)
            _write(out, journal, content, places, old, (dimension, dtype))
        done = True
    finally:
        # A journal without entries has nothing to resume.
        journal.close(remove=done or not journal.entries)
    report.bytes = out.stat().st_size
    report.seconds = time.monotonic() - started
    return report


def _previous(out: Path, model: Model, options: IndexOptions) -> Gallery | None:
    """Return the gallery to update; None if there is none, or if it is to be replaced."""
    if out.is_dir():
        raise UsageFailure(f"{out}: is a folder", "give a file name such as photos.gallery")
    if not out.exists():
        return None
    with open(out, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise UsageFailure(f"{out}: is not a gallery", "choose another --out")
    if options.overwrite:
        return None
    try:
        old = open_gallery(out)
        check_gallery(old)  # a damaged row would be kept forever
    except Failure as failure:
        raise Failure(failure.what, "use --overwrite to replace it") from None
    found, side = old.header, options.thumbnails or None
    if found.model.sha256 != model.sha256 or found.model.preprocessing != model.preprocessing:
        what = f"{out}: holds a gallery of another model, {found.model.name}/{found.model.variant}"
    elif found.dtype != options.dtype:
        what = f"{out}: holds {found.dtype} embeddings, not {options.dtype}"
    elif (found.thumbnail_side if old.has_thumbnails else None) != side:
        what = f"{out}: holds thumbnails of {found.thumbnail_side if old.has_thumbnails else 0} pixels, not {side or 0}"
    else:
        return old
    raise UsageFailure(what, "choose another --out, or use --overwrite")


def _rows_by_id(old: Gallery | None) -> dict[str, tuple[int, tuple[int, int] | None]]:
    if old is None:
        return {}
    stamps = [None] * len(old) if old.stamps is None else [(int(a), int(b)) for a, b in old.stamps]
    return {name: (row, stamp) for row, (name, stamp) in enumerate(zip(old.ids(), stamps, strict=True))}


def _stamp(stamps: np.ndarray, index: int) -> tuple[int, int]:
    return int(stamps[index, 0]), int(stamps[index, 1])


def _kept_row(known: dict[str, tuple[int, tuple[int, int] | None]], key: str, stamp: tuple[int, int]) -> int | None:
    row, before = known.get(key, (None, None))
    return row if before == stamp else None


def _is_embedded(journal: Journal, key: str, stamp: tuple[int, int]) -> bool:
    entry = journal.entries.get(key)
    return entry is not None and entry.stamp == stamp


def _binding(model: Model, options: IndexOptions) -> dict[str, Any]:
    return {
        "journal": 1,
        "model": model.model_dump(mode="json"),
        "dtype": options.dtype,
        "thumbnails": options.thumbnails,
    }


def _embed(
    bundle: Bundle,
    variant: str,
    images: ImageSet,
    todo: Sequence[int],
    stamps: np.ndarray,
    journal: Journal,
    options: IndexOptions,
) -> list[UnreadableImage]:
    """Embed images into the journal. Each worker processes one batch at a time with its own single-threaded model.

    A worker reads, resizes and embeds its batch, which keeps all cores busy without a queue of decoded images.
    The embeddings do not depend on the number of workers.
    """
    batches = [todo[start : start + BATCH] for start in range(0, len(todo), BATCH)]
    workers = min(options.workers or _cores(), len(batches))
    runners: queue.SimpleQueue[VariantRunner] = queue.SimpleQueue()
    for _ in range(workers):
        runners.put(open_variant(bundle, variant))

    def work(number: int) -> tuple[list[Record], list[UnreadableImage]]:
        runner = runners.get()
        try:
            return _one_batch(runner, bundle, images, batches[number], stamps, options)
        finally:
            runners.put(runner)

    problems: list[UnreadableImage] = []
    with progress("indexing", len(todo)) as bar:
        for records, unreadable in read_ahead(work, range(len(batches)), workers, 2 * workers):
            journal.append(records)
            problems += unreadable
            bar.advance(len(records) + len(unreadable))
    return problems


def _one_batch(
    runner: VariantRunner,
    bundle: Bundle,
    images: ImageSet,
    batch: Sequence[int],
    stamps: np.ndarray,
    options: IndexOptions,
) -> tuple[list[Record], list[UnreadableImage]]:
    found: list[tuple[int, bytes]] = []
    pixels: list[np.ndarray] = []
    problems: list[UnreadableImage] = []
    for index in batch:
        try:
            image = images.read(index)
        except UnreadableImage as problem:
            problems.append(problem)
            continue
        pixels.append(bundle.manifest.preprocessing.pixels(image))
        found.append((index, thumbnail(image, options.thumbnails) if options.thumbnails else b""))
    if not found:
        return [], problems
    rows = runner.embed(np.stack(pixels))
    if not np.isfinite(rows).all():
        raise Failure(
            f"{bundle.directory}: the model returns embeddings that are not finite", "export or train it again"
        )
    kept = row_codes(rows) if options.dtype == "int8" else rows
    return [
        Record(images.keys[i], _stamp(stamps, i), row, small) for (i, small), row in zip(found, kept, strict=True)
    ], problems


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _same(old: Gallery | None, places: Sequence[int | Entry], options: IndexOptions) -> bool:
    """Return whether the previous gallery equals the one that would be written."""
    if old is None or list(places) != list(range(len(old))):
        return False
    return (old.bits is not None) == (len(old) >= BITS_FROM if options.bits is None else options.bits)


def _content(
    out: Path, bundle: Bundle, model: Model, ids: list[str], stamps: np.ndarray, options: IndexOptions
) -> dict[str, Any]:
    try:
        where = Path(os.path.relpath(bundle.directory.resolve(), out.parent.resolve())).as_posix()
    except ValueError:  # another drive
        where = None
    return {
        "model": model,
        "ids": ids,
        "bits": options.bits,
        "bundle": where,
        "stamps": stamps,
        "thumbnail_side": options.thumbnails or None,
    }


def _write(
    out: Path,
    journal: Journal,
    content: dict[str, Any],
    places: Sequence[int | Entry],
    old: Gallery | None,
    kind: tuple[int, np.dtype],
) -> None:
    reader = journal.read()
    try:
        rows = MergedRows(places, old, reader, *kind)
        if content["thumbnail_side"] is not None:
            content |= {"thumbnails": rows.thumbnails(), "thumbnail_sizes": rows.thumbnail_sizes()}
        # In the journal's folder, where the next run overwrites and removes what a killed run leaves behind.
        temporary = journal.folder / "gallery"
        with open(temporary, "wb") as file:
            write_to(file, Content(embeddings=rows, **content))
        os.replace(temporary, out)
    finally:
        reader.close()
