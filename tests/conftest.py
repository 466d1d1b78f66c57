"""For all tests: how pytest-xdist shares them out, how many cores a worker may use, and which a dealt share has.

Tests of a module run in one worker, for they share fixtures; those of a module marked `apart` wherever there is room.

Where the environment variable MCOHERENCE_TESTS is a word, such as that of a commit, it deals out the tests marked
`one_in(k)`: of the cases of such a test, or of the modules marked so, a k-th is tried, by another word others. CI does
so to stay short; without it all are tried.
"""

import os
import zlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Share the cores among the workers, before torch is imported. They inherit the setting, and so do jobs of tests.

    With more threads than cores, threads wait for each other by spinning: a test of a second then takes minutes.
    """
    workers = config.getoption("numprocesses", default=None) or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not in the share, if one is dealt."""
    word = os.environ.get("MCOHERENCE_TESTS")
    if not word:
        return
    decks: dict[tuple[str, int], set[str]] = {}
    places = {item: place for item in items if (place := deck_and_card(item)) is not None}
    for deck, card in places.values():
        decks.setdefault(deck, set()).add(card)
    chosen = {deck: dealt(cards, deck[1], word) for deck, cards in decks.items()}
    left_out = [item for item, (deck, card) in places.items() if card not in chosen[deck]]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def deck_and_card(item: pytest.Item) -> tuple[tuple[str, int], str] | None:
    """What a test is dealt among, with one in how many that is, and what it is there; None of one that always runs."""
    for node, mark in item.iter_markers_with_node("one_in"):
        (k,) = mark.args
        if isinstance(node, pytest.Module):
            return ("modules", k), node.nodeid
        return (item.nodeid.partition("[")[0], k), item.nodeid
    return None


def dealt(cards: Iterable[str], k: int, word: str) -> set[str]:
    """A k-th of the cards, rounded up, by a word; the same wherever it is asked."""
    ordered = sorted(cards, key=lambda card: (zlib.crc32(f"{word} {card}".encode()), card))
    return set(ordered[: -(-len(ordered) // k)])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share out whole modules, less those marked `apart`, under `--dist loadgroup`.

    Not by its own groups: these are names after the ids of tests, which pytest 9.2 no longer lets pytest-xdist 3.8
    change, so that it shares out single tests and every worker makes every fixture, without a word.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return nodeid if is_apart(config.rootpath / module) else module

    return ByModule(config, log)


@cache
def is_apart(module: Path) -> bool:
    """Whether the tests of a module may run apart from each other."""
    return "pytest.mark.apart" in module.read_text(encoding="utf-8")
