"""Result of one check of a bundle on this machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Finding"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of one check.

    Attributes:
        problem: what is wrong; empty if nothing is.
        cure: what to do about it; empty if nothing is wrong.
    """

    problem: str
    cure: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem

    def as_json(self) -> dict[str, Any]:
        """Return the fields and ``passed``."""
        return asdict(self) | {"passed": self.passed}
