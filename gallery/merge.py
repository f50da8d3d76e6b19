"""The rows of a new gallery, partly from the old one, partly from the journal, in the new order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gallery.format import Gallery
from gallery.journal import Entry, Reader

__all__ = ["Merged"]


class Merged:
    """Looks like an array of rows; nothing but the asked slice is in memory.

    Args:
        places: for each row of the new gallery its row in ``old``, or its entry in the journal.
    """

    def __init__(
        self, places: Sequence[int | Entry], old: Gallery | None, new: Reader, dimension: int, dtype: np.dtype
    ) -> None:
        self._places = places
        self._old = old
        self._new = new
        self.shape = (len(places), dimension)
        self.dtype = dtype

    def __getitem__(self, part: slice) -> np.ndarray:
        wanted = self._places[part]
        rows = np.empty((len(wanted), self.shape[1]), self.dtype)
        for index, place in enumerate(wanted):
            rows[index] = self._new.row(place) if isinstance(place, Entry) else self._kept().embeddings[place]
        return rows

    def thumbnail_sizes(self) -> np.ndarray:
        """Bytes of each thumbnail: int64 [N]."""
        old = self._old.thumbnail_sizes() if self._old is not None else np.zeros(0, np.int64)
        sizes = (place.thumbnail_bytes if isinstance(place, Entry) else old[place] for place in self._places)
        return np.fromiter(sizes, np.int64, len(self._places))

    def thumbnails(self) -> Iterator[bytes]:
        """Each thumbnail, in order."""
        for place in self._places:
            yield self._new.thumbnail(place) if isinstance(place, Entry) else self._kept().thumbnail(place)

    def _kept(self) -> Gallery:
        assert self._old is not None
        return self._old
