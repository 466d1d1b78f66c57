"""A function's batches must be the same whenever they are read: the same numbers in the same places."""

import sys
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mcoherence.data.named_data import BatchReading
from mcoherence.errors import UserError
from mcoherence.measuring.batches_of_function import BatchesOfFunction

READING = BatchReading(torch.device("cpu"))
A, B = torch.zeros(4, 2), torch.ones(4, 2)


def read(monkeypatch, function):
    monkeypatch.setitem(sys.modules, "users_own", SimpleNamespace(batches=function))
    data = BatchesOfFunction("users_own:batches", "train", {}, "")
    return list(data.batches(np.arange(len(data)), READING))


def test_inputs_that_change_places_between_calls_are_refused(monkeypatch):
    calls = count()

    def swapping():
        a, b = (A, B) if next(calls) % 2 else (B, A)
        yield {"a": a, "b": b}, torch.arange(4)

    with pytest.raises(UserError, match="users_own:batches: found other batches than when it was called before"):
        read(monkeypatch, swapping)


def test_conjugate_views_are_read_and_told_by_their_values(monkeypatch):
    def conjugate():
        yield torch.complex(A, B).conj(), torch.arange(4)

    ((inputs, _),) = read(monkeypatch, conjugate)
    assert torch.equal(inputs, torch.complex(A, -B))
