"""What every check of a bundle on this machine ends in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Finding"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was checked.

    Attributes:
        problem: what is wrong; empty where all is well.
    """

    problem: str

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem

    def as_json(self) -> dict[str, Any]:
        """Fields and ``passed``."""
        return asdict(self) | {"passed": self.passed}
