"""Text of percentages, durations, numbers, attacks and URLs, for the terminal, the report, the model card."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import SupportsFloat

__all__ = [
    "area_text",
    "attack_text",
    "duration",
    "evaluation_text",
    "format_number",
    "inference_cost",
    "interval_text",
    "listed",
    "number_of",
    "operations_text",
    "percent",
    "points",
    "printable",
    "shortened",
    "with_interval",
    "without_passwords",
]

_SECRET = "password|passwd|passphrase|pwd|secret|token|credential|signature|api_?key|access_?key|private_?key"
_PASSWORD = re.compile(
    r"(://[^:/?\s@]{0,1000}:)(?:[^/\s]{0,1000}(?=@)|[^@\s]{0,1000}(?=@))"
    rf"|([?&](?:[\w.-]{{0,64}}(?:{_SECRET})[\w.-]{{0,64}}|key|sig|auth)=)[^&\s]*",
    re.IGNORECASE,
)
"""A password in a URL: between the user name and the host, or in the query, under any of the usual names.

The lengths are limited, so that the time does not grow with the square of a text's length.
"""


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as ``92.8%``; a dash for None, NaN and infinity.

    Args:
        value: The fraction.
        digits: Number of digits after the decimal point.
    """
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f}%"


def interval_text(interval: Sequence[float], *, short: bool = False) -> str:
    """Return the interval of an accuracy as ``95.7% to 98.9%``; short, for a table, as ``95.7 to 98.9``."""
    ends = [percent(end) for end in interval]
    return " to ".join(end.rstrip("%") for end in ends) if short else " to ".join(ends)


def with_interval(value: float | None, interval: Sequence[float] | None, *, short: bool = False) -> str:
    """Return an accuracy with its interval as ``97.8% (95.7% to 98.9%)``; without one, the accuracy alone.

    Args:
        value: The accuracy, a fraction; None where it is not known.
        interval: Lower and upper end; None where they are not known.
        short: Whether the interval is written without signs of percent.
    """
    if interval is None:
        return percent(value)
    return f"{percent(value)} ({interval_text(interval, short=short)})"


def area_text(area: float, interval: tuple[float, float] | None, *, named: bool = True) -> str:
    """Return a hypervolume with its interval as ``0.5673 (95% interval 0.518 to 0.621)``.

    Args:
        area: The hypervolume.
        interval: Lower and upper end; None where they are not known.
        named: Whether the text says what the interval is; a table says it once.
    """
    if interval is None:
        return f"{area:.4f}"
    return f"{area:.4f} ({'95% interval ' if named else ''}{interval[0]:.3f} to {interval[1]:.3f})"


def points(difference: float) -> str:
    """Return the size of a difference of two fractions as ``3.1 points`` (percentage points)."""
    shown = f"{100 * abs(difference):.1f}"
    return f"{shown} point" if shown == "1.0" else f"{shown} points"


def duration(seconds: float) -> str:
    """Return a duration as ``42 s``, ``3 min 12 s`` or ``2 h 05 min``."""
    total = max(0, round(seconds))
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"


def inference_cost(passes: int, parameters: int) -> str:
    """Return ``2 forward passes for each prediction, 51,956 parameters``."""
    return (
        f"{passes} forward pass{'' if passes == 1 else 'es'} for each prediction, {parameters:,} parameters"
    )


def listed(names: Sequence[str]) -> str:
    """Return ``12``, ``12 and 7`` or ``12, 7 and 3``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def operations_text(operations: int) -> str:
    """Return a number of floating point operations as ``10.5 billion operations``.

    >>> operations_text(1_234_567)
    '1.2 million operations'
    """
    for size, word in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if operations >= size:
            return f"{operations / size:.1f} {word} operations"
    return f"{operations} operations"


def shortened(value: object, length: int = 60) -> str:
    """Return a value as text of at most ``length`` characters, for a message; what is left out is ``...``."""
    text = str(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def attack_text(evaluation: Mapping[str, object], *, quick: bool = False) -> str:
    """Return the final attack, as ``targeted PGD-20 (9 classes), L∞, ε = 8/255, 2 starts``.

    Without a final attack (``final_steps`` 0), return the quick one, as ``PGD-10, L∞, ε = 8/255``.

    Args:
        evaluation: The section ``evaluation`` of a resolved space.
        quick: Whether to describe the quick attack in any case.
    """
    norm = {"linf": "L∞", "l2": "L2"}.get(str(evaluation.get("norm")), str(evaluation.get("norm", "?")))
    epsilon = number_of(evaluation.get("epsilon"))
    radius = "?" if epsilon is None else format_number(epsilon)
    prefix = "" if quick or not evaluation.get("final_steps") else "final_"
    targeted = prefix or evaluation.get("loss") == "targeted_margin"
    name = f"PGD-{evaluation.get(f'{prefix}steps', '?')}"
    if targeted:
        name = f"targeted {name} ({evaluation.get(f'{prefix}targets', '?')} classes)"
    starts = evaluation.get(f"{prefix}restarts", 1)
    restarts = f", {starts} starts" if isinstance(starts, int) and starts > 1 else ""
    return f"{name}, {norm}, ε = {radius}{restarts}"


def evaluation_text(evaluation: Mapping[str, object]) -> str:
    """Return both attacks: the final one, and the quick one after epochs."""
    if not evaluation.get("final_steps"):
        return attack_text(evaluation)
    quick = attack_text(evaluation, quick=True).partition(",")[0]
    return f"{attack_text(evaluation)}; after epochs {quick}"


def number_of(value: object) -> float | None:
    """Return the number in a float, an int, ``"0.2"`` or ``"8/255"``; None for other values."""
    try:
        if isinstance(value, str):
            return float(Fraction(value))
        return float(value) if isinstance(value, SupportsFloat) else None
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None


def format_number(value: float) -> str:
    """Return a value as ``0.2`` when three digits are exact, else as ``8/255``, else with three digits."""
    short = f"{value:.3g}"
    if math.isclose(float(short), value, rel_tol=1e-9):
        return short
    parts = value * 255
    if 0 < parts <= 255 and math.isclose(parts, round(parts), rel_tol=1e-7):
        return f"{round(parts)}/255"
    return short


def printable(text: str, keep: str = "") -> str:
    """Return a text with unprintable characters escaped: a file must not send control codes to a terminal.

    Args:
        text: The text.
        keep: Characters that stay as they are, such as the end of a line.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else repr(character)[1:-1]
        for character in text
    )


def without_passwords(text: str) -> str:
    """Return a text with every password in a URL replaced by ``***``.

    >>> without_passwords("postgresql://user:secret@host/study")
    'postgresql://user:***@host/study'
    """
    return _PASSWORD.sub(lambda match: f"{match[1] or match[2]}***", text)
