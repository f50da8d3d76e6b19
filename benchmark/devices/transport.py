"""The way to a device: run a program there, send files, fetch files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.console import Failure

__all__ = ["Died", "Finished", "Lost", "Transport", "Undecodable"]


class Lost(Failure):
    """The connection broke while something was under way."""


class Died(Failure):
    """Our program on the device ended before its work was done."""


class Undecodable(Failure):
    """A picture that the device's decoder refuses.

    Attributes:
        number: which one, from 0: of its ``chunk``, or without one of all pictures.
        chunk: SHA-256 of the pictures that it came with.
    """

    def __init__(self, what: str, number: int, chunk: str | None = None) -> None:
        super().__init__(what, "leave it out of the images, or --from pixels, which decodes on this computer")
        self.number, self.chunk = number, chunk


@dataclass(frozen=True)
class Finished:
    """A program that ended on the device."""

    code: int
    stdout: str
    stderr: str


class Transport(ABC):
    """``ssh`` is one, ``adb`` can be another; what is measured and how is none of its business."""

    where: str  # for messages, e.g. "pi@board"

    @abstractmethod
    def run(
        self, arguments: Sequence[str], stdin: bytes = b"", on_line: Callable[[str], None] | None = None
    ) -> Finished:
        """Run a program there, in the user's home folder.

        Args:
            on_line: called with every line of stdout as it comes.

        Raises:
            Failure: there is no connection to be had (with the cure).
            Lost: it broke meanwhile.
        """

    @abstractmethod
    def push(self, files: Mapping[str, Path]) -> None:
        """Send files: path there -> file here. The content is not to be trusted before it was checked there.

        Raises:
            Failure, Lost: see :meth:`run`; or it could not be written there.
        """

    @abstractmethod
    def pull(self, files: Mapping[str, Path]) -> None:
        """Fetch files: path there -> file here."""

    @abstractmethod
    def close(self) -> None:
        """End the connection."""
