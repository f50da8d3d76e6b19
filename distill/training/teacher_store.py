"""A teacher whose embeddings and stage maps of seeded crops are computed once and cached on disk.

The embeddings of a view are one float16 file, and so are the maps of each stage. They lie in a folder named by
a key made of the teacher's weights, its preprocessing, the crop rule, the images and the side they are stored at.
A stage's files are named by form and shape, so that methods share them where they can.
"""

from __future__ import annotations

import errno
import json
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch

from distill.console import Failure, note, progress
from distill.files import atomic_path
from distill.models.parallel import map_batches
from distill.training.crops import CropRule
from distill.training.data import Batch, TrainImages
from distill.training.stage_maps import StoredStage, decode, encode
from distill.training.teacher import OpenTeacher

__all__ = ["CachedTeacher", "has_room"]

_CHUNK = 32
_STALE_SECONDS = 600  # an active writer adds a chunk far more often
_STAGES = 4
_MARGIN_BYTES = 2_000_000_000  # disk space left free


class CachedTeacher:
    """Cached embeddings and stage maps of numbered crops; a view is computed when it is first needed.

    Args:
        live: the teacher, which runs for views that are not stored yet.
        images: the images of the run.
        rule: how their crops are cut.
        cache_dir: parent folder of the store.
        stages: the stage maps to store.
    """

    source: Literal["live", "stored"] = "stored"
    stored = False  # of some crops only
    input_size: int | None = None  # needs no pixels

    def __init__(
        self,
        live: OpenTeacher,
        images: TrainImages,
        rule: CropRule,
        cache_dir: Path,
        stages: Sequence[StoredStage] = (),
    ) -> None:
        self.live = live
        self.stages = tuple(stages)
        self._images = images
        self._rule = rule
        key = json.dumps(
            {
                "teacher": live.cache_id,
                "preprocessing": live.preprocessing.model_dump(mode="json") if live.preprocessing else None,
                "crops": [rule.scale, rule.flip, rule.seed],
                "images": images.fingerprint,
                "stored_side": images.size,  # crops are rectangles of the stored images
                "bfloat16": live.autocast,
            }
            # Only if set, so that stores older than this option keep their names.
            | ({"mirror": True} if live.mirror else {}),
            sort_keys=True,
        )
        self._folder = cache_dir / f"teacher-{sha256(key.encode()).hexdigest()[:16]}"
        self._views: dict[int, np.ndarray] = {}
        self._maps: dict[tuple[int, StoredStage], np.ndarray] = {}

    @property
    def reduction(self) -> dict[str, Any] | None:
        return self.live.reduction

    def keep(self, run: Path) -> None:
        """Save in the run's folder what the live teacher saves there."""
        self.live.keep(run)

    def __call__(self, batch: Batch, stages: bool) -> tuple[torch.Tensor, list[torch.Tensor | None] | None]:
        """Embeddings float32 [V·B, D] and, if asked for, the four stage maps (None for stages not stored)."""
        rows = [torch.from_numpy(self._views[view][batch.indices].astype(np.float32)) for view in batch.views]
        embeddings = torch.cat(rows).to(self.live.device)
        if not stages:
            return embeddings, None
        maps: list[torch.Tensor | None] = [None] * _STAGES
        for stage in self.stages:
            parts = [decode(self._maps[view, stage][batch.indices], stage.shape) for view in batch.views]
            maps[stage.stage - 1] = torch.cat(parts).to(self.live.device)
        return embeddings, maps

    def prepare(self, views: tuple[int, ...]) -> None:
        """Open the store of ``views``, computing what is missing.

        Raises:
            Failure: the store cannot be written, or the teacher's maps are not finite.
        """
        for view in views:
            absent = [stage for stage in self.stages if not self._load_maps(view, stage)]
            embedded = self._load(view)
            if embedded and not absent:
                continue
            try:
                self._compute(view, not embedded, absent)
            except OSError as error:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                cure = "free some space, or use --teacher-crops 0" if full else "choose another --cache-dir"
                raise Failure(
                    f"{self._folder}: cannot write the teacher's store: {error.strerror or error}", cure
                ) from None
            self._load(view)
            for stage in absent:
                self._load_maps(view, stage)

    def missing_bytes(self, views: int) -> int:
        """Bytes of the stage maps of the first ``views`` views that are not on disk yet."""
        return sum(
            len(self._images) * 2 * stage.row
            for view in range(views)
            for stage in self.stages
            if not self._maps_path(view, stage).is_file()
        )

    def all_bytes(self, views: int) -> int:
        """Bytes of the stage maps of the first ``views`` views."""
        return views * len(self._images) * sum(2 * stage.row for stage in self.stages)

    def _path(self, view: int) -> Path:
        return self._folder / f"view-{view:04d}.npy"

    def _maps_path(self, view: int, stage: StoredStage) -> Path:
        return self._folder / f"{stage.name}-view-{view:04d}.npy"

    def _load(self, view: int) -> bool:
        if view not in self._views:
            stored = _mapped(self._path(view), len(self._images))
            if stored is not None:
                self._views[view] = stored
        return view in self._views

    def _load_maps(self, view: int, stage: StoredStage) -> bool:
        if (view, stage) not in self._maps:
            stored = _mapped(self._maps_path(view, stage), len(self._images))
            if stored is not None and stored.shape[1] == stage.row and stored.dtype == np.float16:
                self._maps[view, stage] = stored
        return (view, stage) in self._maps

    def _compute(self, view: int, with_embeddings: bool, stages: Sequence[StoredStage]) -> None:
        count = len(self._images)
        plan = np.array_split(np.arange(count), max(1, -(-count // _CHUNK)))
        self._remove_stale()
        with ExitStack() as files, progress(f"teacher on view {view + 1}", len(plan)) as bar:
            writers: list[tuple[StoredStage, Callable[[int, np.ndarray], None]]] = []
            for stage in stages:
                temporary = files.enter_context(atomic_path(self._maps_path(view, stage)))
                file = files.enter_context(open(temporary, "wb"))
                writers.append((stage, _row_writer(file, (count, stage.row))))

            def embed(indices: np.ndarray) -> np.ndarray:
                rows, maps = self.live.rows_of(self._images, indices, view, self._rule, stages=bool(stages))
                for stage, write in writers:
                    assert maps is not None
                    write(int(indices[0]), encode(stage.of(maps[stage.stage - 1])))
                bar.advance()
                return rows.half().cpu().numpy()

            rows = map_batches(embed, plan, self.live.device)
        if with_embeddings:
            with atomic_path(self._path(view)) as temporary:
                np.save(temporary, rows)

    def _remove_stale(self) -> None:
        """Remove half-written files of killed runs, which are gigabytes for maps."""
        for leftover in self._folder.glob(".*view-*"):
            try:
                if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
                    leftover.unlink()
            except OSError:
                continue


def has_room(teacher: CachedTeacher, views: int, limit_gb: float, cache_dir: Path) -> bool:
    """Whether the stage maps of ``views`` views may be stored; reports their size in one line."""
    wanted, missing = teacher.all_bytes(views), teacher.missing_bytes(views)
    size = f"the teacher's stage maps of {views} crops per image take {wanted / 1e9:.3g} GB"
    if wanted > limit_gb * 1e9:
        note(f"{size}, more than --teacher-store-gb {limit_gb:g}: the teacher runs at every step")
        return False
    cache_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache_dir).free
    if missing > max(0, free - _MARGIN_BYTES):
        note(f"{size}, and {cache_dir} has {free / 1e9:.3g} GB free: the teacher runs at every step")
        return False
    if missing:
        note(f"{size}, stored once in {cache_dir}")
    return True


def _mapped(path: Path, count: int) -> np.ndarray | None:
    """Map a stored matrix of ``count`` rows; None if it is absent or damaged."""
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return stored if stored.ndim == 2 and len(stored) == count else None


def _row_writer(file: BinaryIO, shape: tuple[int, int]) -> Callable[[int, np.ndarray], None]:
    """Begin a .npy file of float16 ``shape`` and return a function ``write(first, rows)`` for any thread.

    The file is written, not mapped: a full disk then raises an error instead of SIGBUS.
    """
    np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
    start, lock = file.tell(), threading.Lock()

    def write(first: int, rows: np.ndarray) -> None:
        with lock:
            file.seek(start + 2 * shape[1] * first)
            file.write(rows.astype("<f2").tobytes())

    return write
