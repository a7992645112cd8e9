"""Exact rational numbers: read from ``8/255`` and decimals, and written as text."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from morel_search.training.limits import size_problem

__all__ = ["format_rational", "format_value", "in_255ths", "parse_rational"]

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?"
_RATIO = re.compile(rf"({_NUMBER})\s*/\s*({_NUMBER})")
_DECIMAL = re.compile(_NUMBER)
_LONGEST = 40
_WIDEST = 12


def parse_rational(value: object) -> Fraction:
    """Return an exact rational.

    Args:
        value: ``"8/255"``, ``"0.2"``, 0.2 (which gives 1/5, as it is written) or a whole number.

    Raises:
        ValueError: The value is of another form, not finite, divides by zero, or is too large or too small
            for a training. The message is the second part of a sentence about the value.
    """
    if isinstance(value, Fraction):
        return value
    rational = _rational(value)
    if problem := size_problem(rational):
        raise ValueError(problem)
    return rational


def _rational(value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("must be a number such as 8/255 or 0.2")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
        return Fraction(repr(value))
    if isinstance(value, int):
        return Fraction(value)
    return _from_text(value.strip())


def _from_text(text: str) -> Fraction:
    ratio = _RATIO.fullmatch(text) if len(text) <= _LONGEST else None
    if ratio:
        below = Fraction(ratio[2])
        if below == 0:
            raise ValueError("divides by zero")
        return Fraction(ratio[1]) / below
    if len(text) <= _LONGEST and _DECIMAL.fullmatch(text):
        return Fraction(text)
    raise ValueError("must be a number such as 8/255 or 0.2")


def in_255ths(value: object) -> bool:
    """Return whether a value of the file is written as a number of 255ths, such as ``8/255``."""
    ratio = _RATIO.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _LONGEST else None
    return ratio is not None and Fraction(ratio[2]) == 255


def format_rational(value: Fraction) -> str:
    """Return the exact value: as a finite decimal ``0.2``, else as ``8/255``, else as ``1/7``."""
    below = value.denominator
    while below % 2 == 0:
        below //= 2
    while below % 5 == 0:
        below //= 5
    if below == 1:
        return _decimal(value)
    if 255 % value.denominator == 0:
        return f"{value * 255}/255"
    return f"{value.numerator}/{value.denominator}"


def format_value(value: object) -> str:
    """Return a value for messages, tables and progress lines: ``8/255``, ``0.0123``, ``trades``."""
    if isinstance(value, Fraction):
        exact = format_rational(value)
        return exact if len(exact) <= _WIDEST else f"{float(value):.4g}"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def _decimal(value: Fraction) -> str:
    """Return the decimal of a rational that is a finite decimal."""
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    digits = str(abs(value.numerator * 10**places // value.denominator)).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)
