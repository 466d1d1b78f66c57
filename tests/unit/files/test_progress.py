"""What a loop is over passes through its progress unchanged; lengths of time in words."""

import io
import sys

import pytest

from mcoherence.files.progress import progress, time_in_words


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["log file", "terminal"])
def test_the_items_are_handed_on_themselves_in_order(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream())
    items = [object() for _ in range(40)]
    handed_on = list(progress(iter(items), len(items), "count"))
    assert len(handed_on) == len(items)
    assert all(one is other for one, other in zip(handed_on, items, strict=True))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.7, "1 min 0 s"), (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"), (3600, "1 h 0 min"), (86399, "1 d 0 h"),
    ],
)  # fmt: skip
def test_a_length_of_time_in_words(seconds, words):
    assert time_in_words(seconds) == words
