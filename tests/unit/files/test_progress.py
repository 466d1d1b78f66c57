"""What a loop is over passes through its progress unchanged."""

import io
import sys

import pytest

from mcoherence.files.progress import progress


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
