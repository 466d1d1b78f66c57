"""Examples of many groups in any order: every example once, in batches of one group, none larger than those given."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mcoherence import gradient_statistics
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.gradients.sweep.grouping import WAITING_BATCHES, batches_of_one_group

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")
NAMES = [f"group{i}" for i in range(100)]


def numbered(group_ids):
    """Batches whose inputs and targets are the running number of the example."""
    start, batches = 0, []
    for ids in group_ids:
        numbers = torch.arange(start, start + len(ids))
        batches.append((numbers.unsqueeze(1), numbers, torch.tensor(ids, dtype=torch.int64)))
        start += len(ids)
    return batches


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 3), max_size=7), max_size=12))
def test_every_example_comes_once_in_its_own_group(group_ids):
    batches = numbered(group_ids)
    came = {}
    for group, inputs, targets in batches_of_one_group(batches, NAMES[:4]):
        assert 0 < len(inputs) <= max(map(len, group_ids))
        assert inputs.flatten().tolist() == targets.tolist()
        for number in targets.tolist():
            assert came.setdefault(number, group) == group
    flat = [group for ids in group_ids for group in ids]
    assert came == dict(enumerate(flat))
    assert sum(len(t) for _, _, t in batches_of_one_group(batches, NAMES[:4])) == len(flat)


def test_mixed_examples_wait_until_they_fill_a_batch():
    batches = numbered([[0, 1, 0, 1], [0, 1, 0, 1], [1, 1, 1, 1], [0, 1, 0, 1]])
    came = [(group, targets.tolist()) for group, _, targets in batches_of_one_group(batches, NAMES[:2])]
    assert came == [(0, [0, 2, 4, 6]), (1, [1, 3, 5, 7]), (1, [8, 9, 10, 11]), (0, [12, 14]), (1, [13, 15])]


def test_no_more_than_a_few_batches_wait_however_many_groups_there_are():
    read, most = 0, 0

    def batches():
        nonlocal read
        for batch in numbered([[(4 * i + j) % 100 for j in range(4)] for i in range(100)]):
            read += 4
            yield batch

    seen = 0
    for _, _, targets in batches_of_one_group(batches(), NAMES):
        seen += len(targets)
        most = max(most, read - seen)
    assert seen == 400
    assert most <= (WAITING_BATCHES + 1) * 4  # and the one in hand


def test_many_groups_in_mixed_batches_equal_the_loop_and_each_other():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 10)).double()
    inputs, targets = torch.randn(40, 5).double(), torch.arange(40) % 10
    names = [f"class{c}" for c in range(10)]
    statistics = gradient_statistics(
        model, PER_EXAMPLE, [(x, y, y) for x, y in zip(inputs.split(13), targets.split(13), strict=True)], names
    )
    rows = per_example_gradients(model, PER_EXAMPLE, inputs, targets)
    flat = torch.cat([value.flatten(1) for value in rows.values()], dim=1)
    sums = torch.stack([flat[targets == c].sum(dim=0) for c in range(10)])
    torch.testing.assert_close(torch.from_numpy(statistics.gram.sum(axis=-1)), sums @ sums.T, rtol=1e-10, atol=1e-12)
    assert set(statistics.n.values()) == {4}
    for c, name in enumerate(names):
        expected = float(flat[targets == c].square().sum())
        assert abs(statistics.sum_sq_norm(groups=[name]) / expected - 1) < 1e-10


def test_examples_wait_with_those_whose_parts_have_the_same_names_in_the_same_order():
    class Difference(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 3), nn.Linear(2, 3)

        def forward(self, one, two):
            return self.first(one) - 2.0 * self.second(two)

    torch.manual_seed(0)
    model, loss = Difference().double(), nn.CrossEntropyLoss(reduction="none")
    one, two = torch.randn(6, 2).double(), torch.randn(6, 2).double()
    targets, ids = torch.arange(6) % 3, torch.arange(6) % 2
    batches = [({"one": one, "two": two}, targets, ids), ({"two": one, "one": two}, targets, ids)]
    rows = [per_example_gradients(model, loss, inputs, targets) for inputs, *_ in batches]
    expected = sum(float(one.square().sum()) for of_batch in rows for one in of_batch.values())
    found = gradient_statistics(model, loss, batches, groups=["even", "odd"])
    torch.testing.assert_close(found.sum_sq_norm(), expected, rtol=1e-12, atol=0.0)


def test_numbers_of_two_types_keep_them_while_they_wait():
    ids = torch.tensor([0, 1, 0, 1])
    batches = [(torch.ones(4, 1, dtype=dtype), torch.zeros(4), ids) for dtype in (torch.float64, torch.float16)]
    found = [inputs.dtype for _, inputs, _ in batches_of_one_group(batches, ["a", "b"])]
    assert sorted(map(str, found)) == ["torch.float16"] * 2 + ["torch.float64"] * 2


class Tagged(torch.Tensor):
    """A tensor that says something of its batch by its type."""


@pytest.mark.parametrize("differ", ["type", "requires a gradient"])
def test_examples_wait_with_those_that_a_model_cannot_tell_from_them(differ):
    class Telling(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            tells = isinstance(x, Tagged) if differ == "type" else x.requires_grad
            return self.layer(x.as_subclass(torch.Tensor) * (2.0 if tells else 1.0))

    torch.manual_seed(0)
    model, ids = Telling().double(), torch.arange(6) % 2
    one, two = torch.randn(6, 4).double(), torch.randn(6, 4).double()
    rows = [per_example_gradients(model, PER_EXAMPLE, inputs, torch.arange(6) % 3) for inputs in (one, 2.0 * two)]
    expected = sum(float(one.square().sum()) for of_batch in rows for one in of_batch.values())
    two = two.as_subclass(Tagged) if differ == "type" else two.requires_grad_()
    batches = [(inputs, torch.arange(6) % 3, ids) for inputs in (one, two)]
    found = gradient_statistics(model, PER_EXAMPLE, batches, groups=["even", "odd"])
    torch.testing.assert_close(found.sum_sq_norm(), expected, rtol=1e-12, atol=0.0)
