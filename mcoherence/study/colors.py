"""The colour of each optimiser of a study: the config's, or the next of a palette that no other has.

Colours are assigned in order within a study, so that two of its optimisers are never alike, whatever they are called.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from mcoherence.study.runs import Config

PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5D3A9B", "#8C510A", "#004D40", "#000000",
)  # fmt: skip
"""Okabe and Ito's colours without their yellow, which no thin line shows on white, and three more. No grey: that is for
bands and for what is not known. Any two are told apart by most people, those who see red and green alike included
(tests/unit/study/test_colors.py)."""
ALIKE = 20.0  # distance in CIELAB below which two colours may be taken for one


def assigned(names: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """A colour for each name, in the names' order: the given one, or the next of the palette that nobody's is like.

    The palette is used again from its start where a study has more.

    >>> assigned(["sgd", "slow", "rm3"], {"rm3": "#0072b2"})
    {'sgd': '#D55E00', 'slow': '#009E73', 'rm3': '#0072b2'}
    """
    names = list(dict.fromkeys(names))
    taken = [given[name] for name in names if name in given]
    free = [color for color in PALETTE if all(distance(color, one) >= ALIKE for one in taken)] or list(PALETTE)
    others = iter([name for name in names if name not in given])
    found = {name: free[position % len(free)] for position, name in enumerate(others)}
    return {name: given.get(name) or found[name] for name in names}


def figure_settings(config: Config, optimizers: Iterable[str]) -> dict[str, Any]:
    """The config's `figures` with a colour for each of the study's optimisers, and one of these as the reference.

    With the threshold of `claims` that a figure shows as a band, too.

    Args:
        config: of the study.
        optimizers: of its runs, in their order; those that the config gives a colour come first, in its order.
    """
    given = config["figures"]["optimizer_colors"]
    found = list(dict.fromkeys(optimizers))
    ordered = [name for name in config["optimizers"] if name in given] + [name for name in found if name not in given]
    reference = config["figures"]["reference_optimizer"]
    if found and reference not in found:  # the default's, of a study whose optimisers are called otherwise
        reference = found[0]
    colors = assigned(ordered, given)
    return {
        **config["figures"],
        "optimizer_colors": colors,
        "reference_optimizer": reference,
        "delay_factor": config["claims"]["delay_factor"],
    }


def distance(one: str, other: str) -> float:
    """How far apart two colours look: CIE76, Euclidean in CIELAB; #rrggbb each.

    >>> round(distance("#000000", "#ffffff"))
    100
    """
    return float(sum((a - b) ** 2 for a, b in zip(lab(one), lab(other), strict=True)) ** 0.5)


def lab(color: str) -> tuple[float, float, float]:
    """CIELAB of an sRGB colour #rrggbb, white point D65 (IEC 61966-2-1; CIE 15)."""
    red, green, blue = (_linear(int(color[start : start + 2], 16) / 255) for start in (1, 3, 5))
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    fx, fy, fz = (value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def _linear(share: float) -> float:
    """Light of an sRGB channel in 0..1."""
    return float(share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4)
