"""The interface of a transport: run a program on a device, send files, fetch files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.console import Failure

__all__ = ["Died", "Finished", "Lost", "Transport", "Undecodable"]


class Lost(Failure):
    """The connection broke during an operation."""


class Died(Failure):
    """Our program on the device ended before its work was done."""


class Undecodable(Failure):
    """The device's decoder refuses an image.

    Attributes:
        number: Index of the image, from 0, within its ``chunk``; within all images if there is no chunk.
        chunk: SHA-256 of the chunk that holds the image.
    """

    def __init__(self, what: str, number: int, chunk: str | None = None) -> None:
        super().__init__(what, "leave it out of the images, or --from pixels, which decodes on this computer")
        self.number, self.chunk = number, chunk


@dataclass(frozen=True)
class Finished:
    """Exit status and output of a program that ended on the device."""

    code: int
    stdout: str
    stderr: str


class Transport(ABC):
    """Moves bytes to and from a device and starts programs there. It knows nothing of what is measured."""

    where: str  # for messages, e.g. "pi@board"

    @abstractmethod
    def run(
        self, arguments: Sequence[str], stdin: bytes = b"", on_line: Callable[[str], None] | None = None
    ) -> Finished:
        """Run a program in the user's home folder on the device.

        Args:
            on_line: Called with every line of stdout as it arrives.

        Raises:
            Failure: no connection can be made (with the cure).
            Lost: the connection broke meanwhile.
        """

    @abstractmethod
    def push(self, files: Mapping[str, Path]) -> None:
        """Send files: path there -> file here. Check their content there before use.

        Raises:
            Failure, Lost: see :meth:`run`; or a file could not be written there.
        """

    @abstractmethod
    def pull(self, files: Mapping[str, Path]) -> None:
        """Fetch files: path there -> file here."""

    @abstractmethod
    def close(self) -> None:
        """End the connection."""
