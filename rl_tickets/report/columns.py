"""A column of numbers as one cell of text: run-length encoded, and no digit lost."""

import itertools
from collections.abc import Iterable

Number = int | float


def encode(values: Iterable[Number]) -> str:
    """The numbers as text, separated by spaces; what repeats is written once with its count.

    Integral floats lose their `.0` and come back as integers, equal to what they were.

    >>> encode([500.0] * 97 + [341.0, 12.5])
    '500x97 341 12.5'
    """
    runs = ((text, len(list(group))) for text, group in itertools.groupby(map(_text, values)))
    return " ".join(text if count == 1 else f"{text}x{count}" for text, count in runs)


def decode(text: str) -> tuple[Number, ...]:
    """The numbers that `encode` wrote.

    >>> decode("500x3 12.5")
    (500, 500, 500, 12.5)

    Raises:
        ValueError: it is not what `encode` writes.
    """
    values: list[Number] = []
    for token in text.split():
        number, repeated, count = token.partition("x")
        if repeated and not (count.isdecimal() and int(count) > 1):
            raise ValueError(f"{token!r} repeats its number {count!r} times")
        values += [_number(number)] * (int(count) if repeated else 1)
    return tuple(values)


def _text(value: Number) -> str:
    # int() and float() take NumPy's numbers too, whose own repr names their type.
    text = repr(int(value)) if isinstance(value, int) or _is_integer_of_numpy(value) else repr(float(value))
    return text if text == "-0.0" else text.removesuffix(".0")  # An integer has no negative zero.


def _is_integer_of_numpy(value: object) -> bool:
    return hasattr(value, "__index__")


def _number(text: str) -> Number:
    return int(text) if text.removeprefix("-").isdecimal() else float(text)
