"""Decoded images in one memory-mapped file, so that an epoch reads pixels and does not decode JPEGs.

Layout of a store in the cache folder (format version 1): ``pixels-KEY.bin``, the images one after
another as uint8 [h, w, 3], and ``pixels-KEY.json``, the index, written last. KEY consists of the
fingerprint of the image set and the size.
"""

from __future__ import annotations

import errno
import shutil
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import PIL.Image

from distill.console.errors import Failure
from distill.console.progress import note, progress
from distill.data.batches import read_ahead, warn_unreadable
from distill.data.imageset import ImageSet, UnreadableImage
from distill.data.preprocess import resize_exactly
from distill.files import atomic_path, read_json, write_json

__all__ = ["PixelStore"]

FORMAT_VERSION = 1

_PROBES = 64
_PROBE_BYTES = 4096
_STALE_SECONDS = 3600

_ESTIMATED_IMAGES = 64
_ROOM = 1e9  # bytes to leave free for others on a disk that a store of that size or more goes to
_CHECK_EVERY = 1024  # images between two looks at the disk
_LESS = "free some space, choose another cache folder (--cache-dir), or store smaller images (--stored-size)"


class PixelStore:
    """Pixels of an image set, shorter side at most ``size``. Create it with :meth:`open`.

    Attributes:
        size: Limit of the shorter side, pixels.
        shapes: int64 [N, 2], height and width of each image (0, 0 if unreadable).
        readable: bool [N]; the caller skips the images for which it is false.
    """

    def __init__(self, path: Path, size: int, shapes: np.ndarray) -> None:
        self.path = path
        self.size = size
        self.shapes = shapes
        self.readable = shapes[:, 0] > 0
        self._offsets = np.concatenate([[0], np.cumsum(shapes.prod(1) * 3)])
        self._flat = np.memmap(path, np.uint8, "r")

    @classmethod
    def open(cls, images: ImageSet, size: int, cache_dir: str | Path, workers: int = 2) -> PixelStore:
        """Reuse the store of ``images`` at ``size`` in ``cache_dir``, or build it.

        A store that is damaged, truncated, or made by another version of this format or of Pillow
        is built again. Several processes may do so at once: each writes its own file, and the
        last one to be renamed remains. One warning counts the unreadable images.

        Before it is built, one line says how large it will be, estimated from 64 images.

        Args:
            images: Images to decode.
            size: Images whose shorter side is larger are reduced to it (Pillow's antialiased
                bilinear, longer side ``longer * size // shorter``); smaller ones stay unchanged.
            cache_dir: Folder, created if missing.
            workers: Number of decoding threads.

        Raises:
            Failure: no image can be read, the store does not fit on the disk, or cannot be written (no permission).
            ValueError: size below 1.
        """
        if size < 1:
            raise ValueError(f"size {size} must be at least 1")
        cache_dir = Path(cache_dir)
        stem = f"pixels-{images.fingerprint()[:20]}-{size}"
        index_path, pixel_path = cache_dir / f"{stem}.json", cache_dir / f"{stem}.bin"
        index = _valid_index(index_path, pixel_path, images, size)
        if index is None:
            try:
                _remove_stale(cache_dir, stem)
                _check_room(images, size, cache_dir)
                index = _build(images, size, index_path, pixel_path, workers)
            except OSError as error:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                cure = _LESS if full else "choose another cache folder (--cache-dir)"
                raise Failure(f"{cache_dir}: cannot write decoded images: {error.strerror or error}", cure) from None
        warn_unreadable(images, [UnreadableImage(key, reason) for key, reason in index["unreadable"]])
        return cls(pixel_path, size, np.array(index["shapes"], np.int64).reshape(-1, 2))

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return one image: uint8 [h, w, 3], RGB, a read-only view of the file.

        Raises:
            IndexError: out of range.
            UnreadableImage: ``readable[index]`` is false.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        index %= len(self)
        height, width = self.shapes[index]
        if not height:
            raise UnreadableImage(str(index), "was unreadable when the store was built")
        return self._flat[self._offsets[index] : self._offsets[index + 1]].reshape(height, width, 3)

    def __reduce__(self) -> tuple[Any, ...]:
        # Data-loader workers map the file again; a pickled memmap would contain all pixels.
        return type(self), (self.path, self.size, self.shapes)


def _estimate(images: ImageSet, size: int) -> int:
    """Return about how many bytes the store of ``images`` takes, by some of them, spread over the set."""
    count = min(_ESTIMATED_IMAGES, len(images))
    total = 0
    for i in range(count):
        try:
            width, height = _reduced_size(*images.read(i * len(images) // count).size, size)
        except UnreadableImage:
            continue
        total += 3 * width * height
    return total * len(images) // max(1, count)


def _check_room(images: ImageSet, size: int, cache_dir: Path) -> None:
    """Say how large the store will be, and refuse one that would fill the disk."""
    wanted = _estimate(images, size)
    cache_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache_dir).free
    text = f"{images.spec}: {len(images):,} decoded images take about {_gigabytes(wanted)}"
    if wanted + min(wanted, _ROOM) > free:
        raise Failure(f"{text}, and {cache_dir} has {_gigabytes(free)} free", _LESS)
    note(f"{text}, stored once in {cache_dir}")


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e8 else f"{count / 1e6:.2g} MB"


def _build(images: ImageSet, size: int, index_path: Path, pixel_path: Path, workers: int) -> dict[str, Any]:
    def load(i: int) -> np.ndarray | UnreadableImage:
        try:
            return np.asarray(_reduced(images.read(i), size))
        except UnreadableImage as problem:
            return problem

    shapes: list[tuple[int, int]] = []
    problems: list[UnreadableImage] = []
    total = 0
    with atomic_path(pixel_path) as temporary, progress("decoding", len(images)) as bar:
        with open(temporary, "wb") as file:
            for done, result in enumerate(read_ahead(load, range(len(images)), workers, 16 * workers)):
                bar.advance()
                if done % _CHECK_EVERY == 0 and shutil.disk_usage(temporary.parent).free < min(_ROOM, total):
                    raise OSError(errno.ENOSPC, "the disk is nearly full")
                if isinstance(result, UnreadableImage):
                    problems.append(result)
                    shapes.append((0, 0))
                else:
                    shapes.append(result.shape[:2])
                    file.write(np.ascontiguousarray(result).data)
                    total += result.nbytes
        if not total:
            warn_unreadable(images, problems)
        index = {
            "format_version": FORMAT_VERSION,
            "pillow": PIL.__version__,
            "fingerprint": images.fingerprint(),
            "size": size,
            "bytes": total,
            "probes": _probe(temporary, total),
            "unreadable": [(problem.key, problem.reason) for problem in problems],
            "shapes": shapes,
        }
        # The index of an older build must not be paired with the new pixels.
        index_path.unlink(missing_ok=True)
    write_json(index_path, index)
    return index


def _reduced(image: PIL.Image.Image, size: int) -> PIL.Image.Image:
    scaled = _reduced_size(*image.size, size)
    return image if scaled == image.size else resize_exactly(image, scaled)


def _reduced_size(width: int, height: int, size: int) -> tuple[int, int]:
    """Return width and height in the store."""
    shorter = min(width, height)
    return (width, height) if shorter <= size else (width * size // shorter, height * size // shorter)


def _valid_index(index_path: Path, pixel_path: Path, images: ImageSet, size: int) -> dict[str, Any] | None:
    """Return the index, or None if it is missing, damaged or outdated."""
    if not index_path.is_file() or not pixel_path.is_file():
        return None
    try:
        index = read_json(index_path)
        shapes = np.array(index["shapes"], np.int64).reshape(-1, 2)
        whole = (
            index["format_version"] == FORMAT_VERSION
            and index["pillow"] == PIL.__version__
            and index["fingerprint"] == images.fingerprint()
            and index["size"] == size
            and len(shapes) == len(images)
            and int(shapes.min()) >= 0
            and int(shapes.prod(1).sum()) * 3 == index["bytes"] == pixel_path.stat().st_size > 0
            and all(isinstance(key, str) and isinstance(reason, str) for key, reason in index["unreadable"])
            and index["probes"] == _probe(pixel_path, index["bytes"])
        )
    except (Failure, OSError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return index if whole else None


def _probe(path: Path, total: int) -> list[int]:
    """Return the CRC-32 of 64 blocks spread over the file: cheap, and detects pages that never reached the disk."""
    starts: Sequence[int] = sorted({i * max(0, total - _PROBE_BYTES) // (_PROBES - 1) for i in range(_PROBES)})
    sums = []
    with open(path, "rb") as file:
        for start in starts:
            file.seek(start)
            sums.append(zlib.crc32(file.read(_PROBE_BYTES)))
    return sums


def _remove_stale(cache_dir: Path, stem: str) -> None:
    """Remove leftovers of killed builders; a running one has written within the last hour."""
    for leftover in cache_dir.glob(f".{stem}-*"):
        try:
            if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
                leftover.unlink()
        except OSError:
            continue
