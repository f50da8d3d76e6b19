"""Image sets made of files, for ``folder:``, ``csv:`` and the published data sets."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import PIL.Image

from distill.console.progress import progress
from distill.data.decode import decode
from distill.data.imageset import MISSING, ImageSet, UnreadableImage

__all__ = ["IMAGE_SUFFIXES", "FileImageSet", "walk_images"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})

# Files up to this size are hashed whole; of larger files, the size and three blocks.
_WHOLE = 256 * 1024
_BLOCK = 64 * 1024


class FileImageSet(ImageSet):
    """Images in files. A key is the path below ``root`` with forward slashes."""

    def __init__(
        self,
        spec: str,
        kind: str,
        root: Path,
        keys: Sequence[str],
        class_names: Sequence[str] | None,
        flip: bool = True,
        official: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(spec, kind, keys, class_names, flip, official)
        self.root = Path(root)

    def path(self, index: int) -> Path:
        """Return the path of an image."""
        return self.root / self.keys[index]

    def read(self, index: int) -> PIL.Image.Image:
        return decode(self.path(index), self.keys[index])

    def read_bytes(self, index: int) -> bytes | None:
        try:
            return self.path(index).read_bytes()
        except OSError as error:
            raise UnreadableImage(self.keys[index], error.strerror or str(error)) from None

    def _content(self) -> Iterable[bytes]:
        """Yield the SHA-256 of each file's size and bytes.

        Files above 256 KiB are sampled (64 KiB at the start, the middle and the end): compressed
        images of the same size that differ only elsewhere do not occur by accident, and
        thousands of large images take seconds.
        """
        started = time.monotonic()
        with ThreadPoolExecutor(4) as pool, ExitStack() as stack:
            bar = None
            for done, content in enumerate(pool.map(_file_digest, map(self.path, range(len(self))), chunksize=32)):
                if bar is None and time.monotonic() - started > 2:
                    bar = stack.enter_context(progress("fingerprinting", len(self)))
                    bar.advance(done)
                if bar is not None:
                    bar.advance()
                yield content


def _file_digest(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(size.to_bytes(8, "little"))
            if size <= _WHOLE:
                digest.update(file.read())
            else:
                for offset in (0, (size - _BLOCK) // 2, size - _BLOCK):
                    file.seek(offset)
                    digest.update(file.read(_BLOCK))
            return digest.digest()
    except OSError:
        return MISSING


def walk_images(folder: Path) -> Iterator[str]:
    """Yield the image files below ``folder`` (any depth) as relative paths with ``/``, sorted.

    Hidden files and folders (a leading dot) are ignored. Links to folders are followed, but no
    folder is entered twice, so that loops of links end.
    """
    yield from sorted(_walk(folder, "", {os.path.realpath(folder)}))


def _walk(folder: Path | str, prefix: str, entered: set[str]) -> Iterator[str]:
    with os.scandir(folder) as entries:
        visible = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    for entry in visible:
        if entry.is_dir():
            real = os.path.realpath(entry.path)
            if real not in entered:
                entered.add(real)
                yield from _walk(entry.path, f"{prefix}{entry.name}/", entered)
        elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
            # Broken links are kept, so that they are reported as unreadable.
            yield prefix + entry.name
