"""What the value of an option may be: each takes its text, and tells a wrong one by what was found and expected."""

import argparse
from pathlib import Path

MOST = 2**63 - 1  # of a number that numpy and torch count with


def path_of(text: str) -> Path:
    """The path that a text names; an empty text, such as a variable that is not set, would be the working directory."""
    if not text:
        raise argparse.ArgumentTypeError("found '', as a variable that is not set gives, expected a path")
    return Path(text)


def whole_number_of(text: str) -> int:
    """The whole number that a text is."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number, such as 64") from None
    if number > MOST:
        raise argparse.ArgumentTypeError(f"found {text}, expected at most {MOST}")
    return number


def decimal_number_of(text: str) -> float:
    """The number that a text is, NaN and infinity among them."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number, such as 0.5") from None
