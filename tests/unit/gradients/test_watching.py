"""What is read in a forward pass: values that hang on the examples are told from those that are the same for any."""

import warnings

import pytest
import torch

from mcoherence.gradients.graph.following import Following
from mcoherence.gradients.graph.watching import Watch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scripts are deprecated, and are still met
    SCRIPT = torch.jit.CompilationUnit("def f(a, x):\n    a.copy_(x[:, 0])\n").f
X, WEIGHT = torch.linspace(-1, 1, 12).reshape(4, 3), torch.ones(3)
MODEL = torch.nn.Module()
MODEL.register_buffer("weight", WEIGHT)


def written_to_by_a_view(x):
    bias = WEIGHT.clone()
    bias[1:].zero_()
    return bool(bias.sum() > 0)


def written_to(x):
    mask = torch.zeros(4)
    mask[:2].copy_(x[:2, 0])
    return bool(mask.any())


def written_to_as_out(x):
    total = torch.zeros(3)
    torch.sum(x, 0, out=total)
    return float(total[0])


def written_to_by_a_script(x):
    mask = torch.zeros(4)
    SCRIPT(mask, x)
    return bool(mask.any())


def written_to_by_keyword(x):
    mask = torch.zeros(4, 3)
    torch.ops.aten.copy_(self=mask, src=x)
    return bool(mask.any())


def written_to_as_a_parameter(x):
    mask = torch.zeros(4, 3)
    torch.nn.Parameter(mask, requires_grad=False).copy_(x)
    return bool(mask.any())


def counted_up(x):
    count = torch.zeros(())
    for _ in range(3):
        count += 1
    return int(count)


KEPT = torch.zeros(())
READ = {
    "positions": (lambda x: bool((torch.arange(x.shape[1]).diff() == 1).all()), False),
    "a weight": (lambda x: float((WEIGHT * 2).sum()), False),
    "a size of positions": (lambda x: x[:, : torch.arange(3).max()], False),
    "a mask of positions": (lambda x: x[torch.arange(4) < 2], False),
    "how often by a tensor": (lambda x: x.repeat_interleave(x[:, 0].abs().long(), 0), True),
    "how often by a tensor alone": (lambda x: torch.repeat_interleave(x[:, 0].abs().long()), True),
    "where to split by a tensor": (lambda x: x.tensor_split(x[:1, 0].abs().long()), True),
    "an example": (lambda x: bool(x.mean() > 0), True),
    "an example among others": (lambda x: bool(torch.cat([torch.zeros(4, 3), x]).any()), True),
    "a mask of examples": (lambda x: x[x[:, 0] > 0], True),
    "what something fixed was written to, by a view of it": (written_to_by_a_view, False),
    "what was written to": (written_to, True),
    "what was written to as out": (written_to_as_out, True),
    "what scripts write to": (written_to_by_a_script, True),
    "what is written to by keyword": (written_to_by_keyword, True),
    "what is written to as a parameter": (written_to_as_a_parameter, True),
    "a count": (counted_up, False),
    "what operations write to": (lambda x: bool(torch.ops.aten.copy_(torch.zeros(4, 3), x).any()), True),
    "what came from elsewhere": (lambda x: bool(KEPT), True),
}


def test_numbers_that_are_handed_over_as_numbers_are_not_read():
    with Watch(None) as watch:
        X.repeat_interleave(2, 1)
        torch.repeat_interleave(X, repeats=2, dim=0)
        X.tensor_split(2)
        torch.tensor_split(X, indices=(1, 2), dim=1)
    assert not watch.values_read


@pytest.mark.parametrize("name", READ)
def test_what_was_computed_of_sizes_and_weights_alone_may_be_read(name):
    read, hangs_on_examples = READ[name]
    for following, expected in ((None, True), (Following(MODEL), hangs_on_examples)):
        with Watch(following) as watch:
            read(X)
        assert watch.values_read == expected
        assert (watch.doubt() is not None) == expected


def test_what_was_written_to_unseen_is_not_worked_out_for_other_inputs():
    following, held = Following(MODEL, [X]), torch.ones(3)
    following.take(torch.ones, (3,), {}, held)
    assert following.call(torch.gt, (X, held), {}) is not None
    held.mul_(X[0])  # as by another name, of which nothing is told
    assert following.call(torch.gt, (X, held), {}) is None
