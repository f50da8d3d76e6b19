"""From a bundle and pictures to a gallery: resumable, and brought up to date where there is one."""

from __future__ import annotations

import os
import queue
import time
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
from gallery.ids import id_problem
from gallery.images import stamps, thumbnail
from gallery.journal import Entry, Journal, Record
from gallery.merge import Merged
from gallery.models import choose_variant, model_of
from gallery.schema import Model
from gallery.write import BITS_FROM, MAGIC, Content, write_to

__all__ = ["Built", "Options", "build"]

BATCH = 32


@dataclass(frozen=True)
class Options:
    """How to index; see ``distill-index --help``."""

    variant: str | None = None
    dtype: str = "int8"
    thumbnails: int = 128  # longer side, pixels; 0: none
    bits: bool | None = None
    workers: int | None = None
    overwrite: bool = False


@dataclass
class Built:
    """What was done.

    Attributes:
        count: rows of the gallery now.
        added, changed, kept, dropped: pictures against the gallery that was there before.
        resumed: of the added and changed ones, those that an unfinished run had embedded.
        skipped: pictures that cannot be read.
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


def build(bundle: Bundle, images: ImageSet, out: Path, options: Options = Options()) -> Built:
    """Embed ``images`` into the gallery ``out``.

    A run that was killed goes on where it stopped. A gallery of the same model that lies there is
    brought up to date: new pictures are added, deleted ones dropped, changed ones (another size or
    modification time) embedded again, all others kept. Rows stand in the order of ``images``.

    Raises:
        UsageFailure: ``out`` holds something else, or a gallery of another model or kind.
        Failure: no picture is readable, the model gives no numbers, or another run is at work.
        OSError: the file cannot be written.
    """
    started = time.monotonic()
    variant = choose_variant(bundle, options.variant)
    model = model_of(bundle, variant)
    old = _previous(out, model, options)
    built = Built(out, model)
    keys = images.keys
    told = [UnreadableImage(key, f"its name {problem}") for key in keys if (problem := id_problem(key))]
    marks = [(int(a), int(b)) for a, b in stamps(images)]
    known = _rows_by_id(old)
    dimension, dtype = bundle.manifest.embedding_size, np.dtype(options.dtype)

    out.parent.mkdir(parents=True, exist_ok=True)
    journal = Journal(out.parent / f".{out.name}.work", _binding(model, options), dimension, dtype.type)
    done = False
    try:
        bad = {problem.key for problem in told}
        fresh = [i for i, key in enumerate(keys) if key not in bad and _kept_row(known, key, marks[i]) is None]
        todo = [i for i in fresh if not _noted(journal, keys[i], marks[i])]
        built.resumed = len(fresh) - len(todo)
        if todo:
            told += _embed(bundle, variant.name, images, todo, marks, journal, options)
        built.problems, built.skipped = told, len(told)
        warn_unreadable(images, told)
        bad |= {problem.key for problem in told}

        order = [i for i in range(len(keys)) if keys[i] not in bad]
        places: list[int | Entry] = []
        for i in order:
            row = _kept_row(known, keys[i], marks[i])
            places.append(journal.entries[keys[i]] if row is None else row)
            built.kept += row is not None
            built.changed += row is None and keys[i] in known
        built.count = len(order)
        built.added = built.count - built.kept - built.changed
        built.dropped = len(known) - built.kept - built.changed
        built.written = not _same(old, places, options)
        if built.written:
            content = _content(out, bundle, model, [keys[i] for i in order], [marks[i] for i in order], options)
            _write(out, journal, content, places, old, (dimension, dtype))
        done = True
    finally:
        # Where nothing was embedded there is nothing to go on from.
        journal.close(remove=done or not journal.entries)
    built.bytes = out.stat().st_size
    built.seconds = time.monotonic() - started
    return built


def _previous(out: Path, model: Model, options: Options) -> Gallery | None:
    """The gallery to bring up to date; None: there is none, or it is to be replaced."""
    if out.is_dir():
        raise UsageFailure(f"{out}: is a folder", "name a file, such as photos.gallery")
    if not out.exists():
        return None
    with open(out, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise UsageFailure(f"{out}: is not a gallery", "choose another --out")
    if options.overwrite:
        return None
    try:
        old = open_gallery(out)
        check_gallery(old)  # a damaged row would be kept for ever
    except Failure as failure:
        raise Failure(failure.what, "--overwrite it") from None
    found, side = old.header, options.thumbnails or None
    if found.model.sha256 != model.sha256 or found.model.preprocessing != model.preprocessing:
        what = f"{out}: holds a gallery of another model, {found.model.name}/{found.model.variant}"
    elif found.dtype != options.dtype:
        what = f"{out}: holds {found.dtype} embeddings, not {options.dtype}"
    elif (found.thumbnail_side if old.has_thumbnails else None) != side:
        what = f"{out}: holds thumbnails of {found.thumbnail_side if old.has_thumbnails else 0} pixels, not {side or 0}"
    else:
        return old
    raise UsageFailure(what, "choose another --out, or --overwrite it")


def _rows_by_id(old: Gallery | None) -> dict[str, tuple[int, tuple[int, int] | None]]:
    if old is None:
        return {}
    marks = [None] * len(old) if old.stamps is None else [(int(a), int(b)) for a, b in old.stamps]
    return {name: (row, mark) for row, (name, mark) in enumerate(zip(old.ids(), marks, strict=True))}


def _kept_row(known: dict[str, tuple[int, tuple[int, int] | None]], key: str, mark: tuple[int, int]) -> int | None:
    row, before = known.get(key, (None, None))
    return row if before == mark else None


def _noted(journal: Journal, key: str, mark: tuple[int, int]) -> bool:
    entry = journal.entries.get(key)
    return entry is not None and entry.stamp == mark


def _binding(model: Model, options: Options) -> dict[str, Any]:
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
    marks: Sequence[tuple[int, int]],
    journal: Journal,
    options: Options,
) -> list[UnreadableImage]:
    """Embed pictures into the journal, a batch a worker, each with its own copy of the model on one thread.

    Reading, shrinking and embedding a batch in one thread keeps all cores busy without a queue of
    decoded pictures between them; the numbers do not depend on how many workers there are.
    """
    batches = [todo[start : start + BATCH] for start in range(0, len(todo), BATCH)]
    workers = min(options.workers or _cores(), len(batches))
    runners: queue.SimpleQueue[VariantRunner] = queue.SimpleQueue()
    for _ in range(workers):
        runners.put(open_variant(bundle, variant))

    def work(number: int) -> tuple[list[Record], list[UnreadableImage]]:
        runner = runners.get()
        try:
            return _one_batch(runner, bundle, images, batches[number], marks, options)
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
    marks: Sequence[tuple[int, int]],
    options: Options,
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
        raise Failure(f"{bundle.directory}: the model gives embeddings that are not finite", "export or train it again")
    kept = row_codes(rows) if options.dtype == "int8" else rows
    return [Record(images.keys[i], marks[i], row, small) for (i, small), row in zip(found, kept, strict=True)], problems


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _same(old: Gallery | None, places: Sequence[int | Entry], options: Options) -> bool:
    """Whether the gallery that lies there is the one that would be written."""
    if old is None or list(places) != list(range(len(old))):
        return False
    return (old.bits is not None) == (len(old) >= BITS_FROM if options.bits is None else options.bits)


def _content(
    out: Path, bundle: Bundle, model: Model, ids: list[str], marks: list[tuple[int, int]], options: Options
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
        "stamps": np.array(marks, np.uint64).reshape(-1, 2),
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
        rows = Merged(places, old, reader, *kind)
        if content["thumbnail_side"] is not None:
            content |= {"thumbnails": rows.thumbnails(), "thumbnail_sizes": rows.thumbnail_sizes()}
        # In the journal's folder: what a killed run leaves is written over, and removed with it.
        temporary = journal.folder / "gallery"
        with open(temporary, "wb") as file:
            write_to(file, Content(embeddings=rows, **content))
        os.replace(temporary, out)
    finally:
        reader.close()
