"""Read decoded images in order, with threads that read ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from distill.console.errors import Failure
from distill.console.progress import progress, warn
from distill.data.imageset import ImageSet, UnreadableImage
from distill.data.preprocess import Preprocessing

__all__ = ["pixel_batches", "read_ahead", "warn_unreadable"]

T = TypeVar("T")


def pixel_batches(
    images: ImageSet,
    preprocessing: Preprocessing,
    batch_size: int = 64,
    workers: int = 2,
    label: str = "reading",
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all images of a set, preprocessed, in the order of the set.

    Threads decode ahead (Pillow releases the interpreter lock), by two batches at most, so that
    memory stays bounded. The result does not depend on the number of threads. Unreadable images are
    skipped; one warning at the end counts and names them.

    Args:
        images: Images to read.
        preprocessing: Resize and crop; scaling is left to the caller.
        batch_size: Images per batch; the last one may be smaller.
        workers: Number of decoding threads.
        label: Text beside the progress bar.

    Yields:
        Pixels uint8 [B, H, W, 3], and their indices in ``images``, int64 [B].

    Raises:
        Failure: no image can be read.
        ValueError: ``batch_size`` or ``workers`` below 1.
    """
    if batch_size < 1 or workers < 1:
        raise ValueError(f"batch_size {batch_size} and workers {workers} must be at least 1")
    return _batches(images, preprocessing, batch_size, workers, label)


def _batches(
    images: ImageSet, preprocessing: Preprocessing, batch_size: int, workers: int, label: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    def load(index: int) -> np.ndarray | UnreadableImage:
        try:
            return preprocessing.pixels(images.read(index))
        except UnreadableImage as problem:
            return problem

    problems: list[UnreadableImage] = []
    pixels: list[np.ndarray] = []
    indices: list[int] = []
    with progress(label, len(images)) as bar:
        for index, result in enumerate(read_ahead(load, range(len(images)), workers, 2 * batch_size)):
            bar.advance()
            if isinstance(result, UnreadableImage):
                problems.append(result)
                continue
            pixels.append(result)
            indices.append(index)
            if len(pixels) == batch_size:
                yield np.stack(pixels), np.array(indices, np.int64)
                pixels, indices = [], []
    if pixels:
        yield np.stack(pixels), np.array(indices, np.int64)
    warn_unreadable(images, problems)


def read_ahead(load: Callable[[int], T], indices: Sequence[int], workers: int, ahead: int) -> Iterator[T]:
    """Yield ``load(index)`` for every index, in order, computed by threads at most ``ahead`` results early.

    Exceptions of ``load`` are raised here. Threads end when the iterator is closed or fails.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="read")
    waiting: deque[Future[T]] = deque()
    try:
        for index in indices:
            waiting.append(pool.submit(load, index))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def warn_unreadable(images: ImageSet, problems: Sequence[UnreadableImage], shown: int = 3) -> None:
    """Print one warning for all unreadable images.

    Raises:
        Failure: none of ``images`` can be read.
    """
    if not problems and len(images):
        return
    names = "; ".join(str(problem) for problem in problems[:shown])
    if len(problems) == len(images):
        first = f", e.g. {problems[0]}" if problems else ""
        raise Failure(f"{images.spec}: no readable image among {len(images)}{first}", "check the files")
    more = "; …" if len(problems) > shown else ""
    warn(f"{images.spec}: skipped {len(problems)} of {len(images)} images that cannot be read: {names}{more}")
