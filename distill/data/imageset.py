"""The interface of a set of images, with or without class labels."""

from __future__ import annotations

import copy
import hashlib
import heapq
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import PIL.Image

from distill.console.errors import Failure

__all__ = ["MISSING", "ImageSet", "UnreadableImage"]

MISSING = hashlib.sha256(b"missing").digest()  # content of an image whose file cannot be read
_SAMPLE = 256


class UnreadableImage(Exception):
    """An image could not be decoded. Callers skip it and count it.

    Args:
        key: Key of the image in its set.
        reason: What is wrong with it, in a few words.
    """

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(f"{key}: {reason}")


class ImageSet(ABC):
    """Images, with class labels or without. Immutable; ``select`` makes subsets.

    Args:
        spec: The data spec that opened it.
        kind: Kind of source ("folder", "glyphs", ...); part of the fingerprint, unlike the path.
        keys: One unique name per image, from which a subclass can find the image.
        class_names: One class name per image, in the order of ``keys``; None: the images have no labels.
        flip: Whether a mirrored image keeps its class.
        official: Class name to "train" or "test" if the data set has its own class-disjoint
            split, else None.

    Attributes:
        split_seed: Seed of the split of images without labels, see :mod:`distill.data.split`.
    """

    spec: str
    kind: str
    keys: tuple[str, ...]
    flip: bool
    official: Mapping[str, str] | None
    split_seed: int = 0
    # Side in pixels of images drawn to fill a square frame; None for images with a margin to crop.
    native_size: int | None = None

    def __init__(
        self,
        spec: str,
        kind: str,
        keys: Sequence[str],
        class_names: Sequence[str] | None,
        flip: bool = True,
        official: Mapping[str, str] | None = None,
    ) -> None:
        if class_names is not None and len(keys) != len(class_names):
            raise ValueError(f"{len(keys)} keys but {len(class_names)} class names")
        self.spec = spec
        self.kind = kind
        self.keys = tuple(keys)
        self._classes: tuple[str, ...] | None = None
        self._labels: np.ndarray | None = None
        if class_names is not None:
            self._classes = tuple(sorted(set(class_names)))
            index = {name: label for label, name in enumerate(self._classes)}
            self._labels = np.fromiter((index[name] for name in class_names), np.int64, len(self.keys))
            self._labels.flags.writeable = False
        self.flip = flip
        self.official = official
        self._fingerprint: str | None = None
        self._sample: tuple[str, ...] = ()
        if len(set(self.keys)) != len(self.keys):
            raise ValueError("keys are not unique")

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        classes = f"{len(self.classes)} classes" if self.labelled else "no labels"
        return f"<{type(self).__name__} {self.spec}: {len(self)} images, {classes}>"

    @property
    def labelled(self) -> bool:
        """Whether the images have labels. Without, ``classes`` and ``labels`` must not be used."""
        return self._labels is not None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in code-point order, only those with an image.

        Raises:
            Failure: the images have no labels.
        """
        if self._classes is None:
            raise self._unlabelled()
        return self._classes

    @property
    def labels(self) -> np.ndarray:
        """int64 [N], index into ``classes``.

        Raises:
            Failure: the images have no labels.
        """
        if self._labels is None:
            raise self._unlabelled()
        return self._labels

    def _unlabelled(self) -> Failure:
        return Failure(
            f"{self.spec}: these images have no labels",
            "give images with labels: folder:PATH with one folder per class",
        )

    def without_labels(self) -> ImageSet:
        """Return the same images without their labels and without the official split of their classes."""
        bare = copy.copy(self)
        bare._classes = bare._labels = bare.official = bare._fingerprint = None
        return bare

    def with_split_seed(self, seed: int) -> ImageSet:
        """Return the same images, split by another seed (images without labels only)."""
        other = copy.copy(self)
        other.split_seed = seed
        return other

    @abstractmethod
    def read(self, index: int) -> PIL.Image.Image:
        """Decode one image: 8-bit RGB, upright (EXIF orientation applied), alpha over white.

        Safe to call from several threads.

        Raises:
            UnreadableImage: missing, damaged, not an image, or too large to decode safely.
        """

    def read_bytes(self, index: int) -> bytes | None:
        """Return the encoded file, or None if images are not files.

        Raises:
            UnreadableImage: the file cannot be read.
        """
        return None

    def select(self, indices: Iterable[int] | np.ndarray) -> ImageSet:
        """Return the images at ``indices`` (or where a boolean mask is true), in that order.

        Classes without an image are dropped and labels renumbered.

        Raises:
            IndexError: an index is out of range.
            ValueError: an index is given twice.
        """
        chosen = np.asarray(indices if isinstance(indices, np.ndarray) else list(indices))
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise IndexError(f"mask of shape {chosen.shape} for {len(self)} images")
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.int64).reshape(-1)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= len(self)):
            raise IndexError(f"index out of range for {len(self)} images")
        if len(np.unique(chosen)) != len(chosen):
            raise ValueError("an index is given twice")
        subset = copy.copy(self)
        subset.keys = tuple(self.keys[i] for i in chosen)
        if self._labels is not None and self._classes is not None:
            present, labels = np.unique(self._labels[chosen], return_inverse=True)
            subset._classes = tuple(self._classes[i] for i in present)
            subset._labels = labels.astype(np.int64).reshape(-1)
            subset._labels.flags.writeable = False
        subset._fingerprint = None
        return subset

    def fingerprint(self) -> str:
        """Return the SHA-256 (64 hex digits) of the kind, the keys, the class names (if any) and the content.

        The same data in another folder has the same fingerprint; a changed, added, removed,
        renamed or moved image changes it. The subclass's ``_content`` defines the content.
        """
        if self._fingerprint is None:
            digest = hashlib.sha256()
            smallest: set[bytes] = set()
            for text in (self.kind, *(self._classes or ())):
                digest.update(text.encode("utf-8", "surrogateescape") + b"\0")
            labels = [b"%d" % label for label in self._labels] if self._labels is not None else [b"-"] * len(self)
            for key, label, content in zip(self.keys, labels, self._content(), strict=True):
                # Keys are paths at most and never contain a NUL, so the fields cannot run together.
                digest.update(key.encode("utf-8", "surrogateescape") + b"\0" + label + b"\0" + content)
                smallest.add(content)
                if len(smallest) > 8 * _SAMPLE:
                    smallest = set(heapq.nsmallest(_SAMPLE, smallest))
            self._fingerprint = digest.hexdigest()
            # Content that all images share, as with glyphs, tells none apart.
            told_apart = len(smallest) > 1
            self._sample = tuple(c.hex()[:16] for c in heapq.nsmallest(_SAMPLE, smallest - {MISSING}) if told_apart)
        return self._fingerprint

    def sample(self) -> tuple[str, ...]:
        """Return the 256 smallest digests of the images' content, 16 hex digits each, in ascending order.

        A set that shares a part of its images with another has about that part of the other's sample, whatever
        the images and classes are called. Empty if content does not tell images apart.
        """
        self.fingerprint()
        return self._sample

    def digests(self) -> Iterable[bytes]:
        """Return a digest of each image's content, in order; it changes when the image changes.

        Fixed length within a set. May be equal for images whose keys already distinguish them.
        """
        return self._content()

    @abstractmethod
    def _content(self) -> Iterable[bytes]:
        """Return one fixed-length digest per image."""
