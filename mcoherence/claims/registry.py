"""The claims of the papers, each registered above the function that takes its statistic.

A new claim is a new function under `claim`, in any module of this folder; they are found by the folder, so that no list
of them is kept anywhere.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import TypeVar

from mcoherence.claims.measured import Parts, Unit
from mcoherence.claims.testing import Description, Level

Statistic = TypeVar("Statistic", bound=Callable[..., Parts])
_DESCRIPTIONS: dict[str, Description] = {}


def claim(
    id: str,
    statement: str,
    *,
    short: str,
    source: str,
    statistic: str,
    unit: Unit,
    figure: str,
    tables: tuple[str, ...],
    needs: str,
    level: Level = "II",
    asserted_from: int = 0,
) -> Callable[[Statistic], Statistic]:
    """Register the decorated function, (tables, settings) -> parts or (tables) -> parts, as the test of a claim.

        @claim(
            "P15",
            "Trained and tested on easy examples, a network generalises better than on hard ones.",
            short="easy generalises better than hard",
            source="arXiv 2003.07422",
            statistic="test accuracy easy on easy minus hard on hard",
            unit="points",
            figure="easy_hard",
            tables=("easy_hard",),
            needs="networks trained on easy and on hard examples",
        )
        def easy_beats_hard(tables: Tables) -> Parts: ...

    Args:
        id: P1, P2, ... for what the papers assert; E1, E2, ... for further statements, of level III or "own".
        statement: the claim in a sentence.
        short: in a few words, for a row of a drawing.
        source: who makes it.
        statistic: what is tested, in words; positive where the claim holds.
        unit: of that, as a person says it; a part may have its own.
        figure: where a reader sees what is tested.
        tables: those that the function reads; the first one shows what a study has where it has too little.
        needs: the runs that these have to hold.
        level: see `mcoherence.claims.testing`.
        asserted_from: pixels along an image's side from which the source asserts it.
    """

    def register(function: Statistic) -> Statistic:
        if id in _DESCRIPTIONS:
            raise ValueError(f"claim {id}: {function.__module__} states it again, after {_DESCRIPTIONS[id].module}")
        _DESCRIPTIONS[id] = Description(
            id, statement, short, source, statistic, unit, figure, function, tables, needs, level, asserted_from
        )
        return function

    return register


def claims_of(package: str) -> list[Description]:
    """The claims that the modules of a package's folder register, such as those of "mcoherence.claims"."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
    return [one for one in _DESCRIPTIONS.values() if one.module.rpartition(".")[0] == package]
