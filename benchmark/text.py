"""Small matters of text that several parts of a report share."""

from __future__ import annotations

__all__ = ["kilobytes", "percent", "plain", "points"]


def plain(text: str) -> str:
    """Text that can be written as UTF-8: bytes of a file name that were no UTF-8 become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction as percent, a dash where there is none."""
    return "–" if fraction is None else f"{100 * fraction:.{digits}f}"


def kilobytes(size: int) -> str:
    """Bytes in kB of 1000 bytes."""
    return f"{size / 1000:,.0f}"


def points(fraction: float, sign: bool = False) -> str:
    """A difference of fractions in points (hundredths), two decimals, with a true minus."""
    text = f"{100 * fraction:{'+' if sign else ''}.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")
