"""Every method has an entry and a file, and the two agree."""

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

import mcoherence.optim
from mcoherence.errors import UserError
from mcoherence.optim.by_name import class_of
from mcoherence.optim.descent import EagerOptimizer
from mcoherence.optim.methods import METHODS
from mcoherence.optim.winsorized import GRADIENT_ENTRIES, WinsorizedMean

ROOT = Path(__file__).parents[3]
SETTINGS = {"winsorized": {"c": 20}}  # those without a default


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_found_by_its_name_and_by_that_of_its_class(method):
    assert issubclass(class_of(method), EagerOptimizer)
    assert class_of(method).__module__ == f"mcoherence.optim.{method}"
    assert getattr(mcoherence.optim, METHODS[method].optimizer) is class_of(method)


@pytest.mark.parametrize("method", METHODS)
def test_a_file_has_one_class_that_an_entry_may_name(method):
    """So that another class in an entry is another file, which trains what it changes again."""
    module = import_module(f"mcoherence.optim.{method}")
    classes = {
        one for one in vars(module).values()
        if inspect.isclass(one) and issubclass(one, EagerOptimizer) and one.__module__ == module.__name__
    }  # fmt: skip
    assert classes == {class_of(method)}


def test_other_names_are_not():
    with pytest.raises(ImportError, match="cannot import name 'Lion'"):
        from mcoherence.optim import Lion  # noqa: F401
    with pytest.raises(UserError, match=r"^optimizer\.method: found 'lion', expected one of sgd, m3"):
        class_of("lion")


@pytest.mark.parametrize("method", METHODS)
def test_the_settings_of_an_entry_are_arguments_of_the_class_with_the_same_defaults(method):
    entry = METHODS[method]
    arguments = {}
    for one in reversed(class_of(method).__mro__):  # what a subclass does not name it hands on
        arguments |= inspect.signature(one.__init__).parameters if "__init__" in vars(one) else {}
    for key, schema in entry.settings.items():
        default = arguments[key].default
        assert ("default" in schema) == (key not in entry.required)
        assert (list(default) if isinstance(default, tuple) else default) == schema.get("default", default), key
    assert entry.has_momentum == ("momentum" in arguments)
    assert entry.allows_momentum != ("allow_momentum" in arguments)
    assert entry.one_rank == class_of(method).one_rank


@pytest.mark.parametrize(
    ("method", "momentum"),
    [(name, momentum) for name, entry in METHODS.items() for momentum in ((0, 0.9) if entry.has_momentum else (0,))],
)
def test_as_many_gradients_are_kept_as_the_entry_says(method, momentum):
    """Tensors as large as the weights, between two updates, once all that is kept is there."""
    entry = METHODS[method]
    settings = SETTINGS.get(method, {}) | ({"momentum": momentum} if momentum else {})
    allowed = {} if entry.allows_momentum else {"allow_momentum": True}
    model = nn.Linear(3, 2, bias=False)
    optimizer = class_of(method).of_model(model, lr=0.1, **settings, **allowed)
    parts = entry.mini_batches(settings) * entry.groups(settings)
    inputs = torch.ones(6, 3)
    for _ in range(4):
        optimizer.step_on([(part, part[:, :2]) for part in inputs.chunk(parts)], lambda x, y: (model(x) - y).sum())
    (state,) = optimizer.state.values() if optimizer.state else ({},)
    tensors = [one for value in state.values() for one in (value if isinstance(value, list) else [value])]
    assert sum(tensor.shape == model.weight.shape for tensor in tensors) == entry.kept_gradients(settings)


def test_mini_batches_and_groups_of_an_update():
    updates = {
        (method, *settings.items()): (METHODS[method].mini_batches(settings), METHODS[method].groups(settings))
        for method, settings in (
            *((method, {}) for method in METHODS),
            ("m3", {"groups": 5}), ("m3_successive", {"groups": 7}), ("gradient_agreement", {"groups": 4}),
        )
    }  # fmt: skip
    assert {name: counts for name, counts in updates.items() if counts != (1, 1)} == {
        ("m3",): (1, 3), ("m3", ("groups", 5)): (1, 5),
        ("m3_successive",): (3, 1), ("m3_successive", ("groups", 7)): (7, 1),
        ("sgd_m3_norm",): (1, 3), ("gradient_agreement",): (1, 2), ("gradient_agreement", ("groups", 4)): (1, 4),
    }  # fmt: skip


def test_gradients_held_during_an_update():
    held = {
        "m3": ({"groups": 5}, 4), "m3_successive": ({"groups": 3}, 2), "rm3": ({}, 0), "sgd": ({}, 0),
        "gradient_agreement": ({"groups": 4}, 1), "sgd_m3_norm": ({"groups": 5}, 5),
        "winsorized": ({"c": 2}, 2 * (2 + 1)),  # of 100: two clipped at each end, and the next one there
    }  # fmt: skip
    assert {name: METHODS[name].held(settings, 100) for name, (settings, _) in held.items()} == {
        name: number for name, (_, number) in held.items()
    }


@pytest.mark.parametrize(
    ("c", "examples", "expected"),
    [(0, 20, 2), (2, 100, 6), (12.5, 13, 4), (37.5, 21, 16), (37.5, 5, 4), (50, 9, 9), (50, 10, 10)],
    ids=lambda value: str(value),
)
def test_winsorised_sgd_holds_as_many_gradients_as_the_entry_says(c, examples, expected):
    """Of 13 examples 12.5% is the rank 1.5, a half, which is rounded down: two values at either end."""
    mean = WinsorizedMean(examples, c)
    for chunk in torch.randn(examples, 3).split(4):
        mean.add(chunk)
    assert mean.kept.shape == (3, expected)
    assert METHODS["winsorized"].held({"c": c}, examples) == expected


def test_the_gradients_that_winsorised_sgd_takes_at_a_time_are_those_of_the_entry():
    assert METHODS["winsorized"].chunk_bytes == GRADIENT_ENTRIES * torch.float32.itemsize


def test_the_entries_are_read_without_torch():
    code = "import sys; from mcoherence.optim.methods import METHODS; print(len(METHODS), 'torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout == f"{len(METHODS)} False\n"
