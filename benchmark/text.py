"""Format figures for tables and pages. A missing figure is a dash."""

from __future__ import annotations

from benchmark.result import FEW_CLASSES

__all__ = ["few_classes", "kilobytes", "milliseconds", "p_value", "percent", "plain", "points"]


def plain(text: str) -> str:
    """Return ``text`` with bytes that are not UTF-8 (in file names) replaced by U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def few_classes(count: int) -> str:
    """Explain the mark ``*`` of intervals that rest on so few classes."""
    return f"* too narrow: intervals resample classes, and {count} are fewer than {FEW_CLASSES}"


def percent(fraction: float | None, digits: int = 1) -> str:
    """Format a fraction as percent."""
    return "–" if fraction is None else f"{100 * fraction:.{digits}f}"


def kilobytes(size: int) -> str:
    """Format bytes as kB of 1000 bytes."""
    return f"{size / 1000:,.0f}"


def points(fraction: float, sign: bool = False) -> str:
    """Format a difference of fractions in points (hundredths), with two decimals and a true minus sign."""
    text = f"{100 * fraction:{'+' if sign else ''}.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def milliseconds(value: float | None) -> str:
    """Format milliseconds with three significant digits, at most three decimals."""
    if value is None:
        return "–"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def p_value(value: float | None) -> str:
    """Format a p-value; small ones as ``< 0.001``."""
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
