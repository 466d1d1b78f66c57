"""How wide text is, and text on as many lines as it takes: names may be of wide letters or narrow ones."""

import textwrap
from functools import cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from mcoherence.figures.style import TEXT_SIZE, TYPEFACE

POINTS = 72  # in an inch


@cache
def inches(line: str, size: float = TEXT_SIZE, bold: bool = False) -> float:
    """How wide a line of text is in the figures' typeface, of so many points."""
    font = FontProperties(family=TYPEFACE, size=size, weight="bold" if bold else "normal")
    width, _, _ = TextToPath().get_text_width_height_descent(line, font, ismath=False)
    return float(width) / POINTS


def broken(text: str, letters: int, letter: float, size: float = TEXT_SIZE, bold: bool = False) -> str:
    """A text on lines of so many letters, and of fewer where its letters are wider than thought.

    Args:
        text: its own line breaks stay.
        letters: of a line.
        letter: inches that one may take, so that a line takes no more than `letters` times as many.
        size: points.
        bold: the text is.
    """
    lines = []
    for line in text.split("\n"):
        found = textwrap.wrap(line, letters) or [""]
        for fewer in range(letters - 1, 0, -1):
            if max(inches(one, size, bold) for one in found) <= letters * letter:
                break
            found = textwrap.wrap(line, fewer)
        lines += found
    return "\n".join(lines)
