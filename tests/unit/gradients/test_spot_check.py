"""Examples at a kink: rounding, which depends on the batch, decides which of two gradients they have.

A layer that adds three numbers in an order of its own for a batch of one or two stands for what matrix products do; an
example alone is passed as a batch that holds it twice.
"""

import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics
from mcoherence.gradients.batch.evidence import Evidence
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.reference import per_example_gradients


class Added(nn.Module):
    """1 + w x - 1 of inputs x [n, 1], by another order alone; in float32 either 0 or w x where that is 2^-24."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, x):
        small = self.w * x
        return (small - 1) + 1 if len(x) <= 2 else (1 + small) - 1


def half_squares(outputs, targets):
    """(output - target)^2 / 2 per example."""
    return ((outputs[:, 0] - targets) ** 2) / 2


def model(*further):
    return nn.Sequential(Added(), nn.ReLU(), *further)


AT_KINK = torch.full((4, 1), 2.0**-24)
ONES = torch.ones(4)


def test_the_gradient_of_an_example_at_a_kink_depends_on_its_batch_by_rounding_alone():
    # d/dw of (relu(w x) - 1)^2 / 2 is -x where w x counts as more than 0, else 0.
    alone = per_example_gradients(model(), half_squares, AT_KINK, ONES)["0.w"]
    assert alone.flatten().tolist() == pytest.approx([-(2.0**-24)] * 4)
    statistics = gradient_statistics(model(), half_squares, [(AT_KINK, ONES)], spot_check=0)
    assert statistics.sum_sq_norm() == 0.0


def test_such_an_example_is_no_error_and_the_evidence_says_that_there_was_one():
    statistics = gradient_statistics(model(), half_squares, [(AT_KINK, ONES)], spot_check=2)
    assert statistics.evidence.spot_at_kink
    assert statistics.evidence.spot_relative_error == 0.0
    assert statistics.evidence.by_whole_model == ()
    assert statistics.sum_sq_norm() == 0.0


def test_away_from_it_there_is_none():
    statistics = gradient_statistics(model(), half_squares, [(1 + AT_KINK, ONES)], spot_check=2)
    assert not statistics.evidence.spot_at_kink


def test_one_of_several_calls_is_enough():
    kink = Evidence(spot_at_kink=True)
    assert Evidence().merge(kink).spot_at_kink
    assert Evidence.from_json(kink.as_json()) == kink
    before = {name: value for name, value in Evidence().as_json().items() if name != "spot_at_kink"}
    assert not Evidence.from_json(before).spot_at_kink  # of files from before there was such a thing


class Mixing(nn.Module):
    """Adds to every example the mean of the batch, without a parameter of its own."""

    def forward(self, x):
        return x + x.mean(dim=0)


def test_examples_that_depend_on_their_batch_otherwise_are_still_refused():
    with pytest.raises(UnsupportedModelError, match=r"mixes the examples"):
        gradient_statistics(model(Mixing()), half_squares, [(AT_KINK + torch.arange(4.0)[:, None], ONES)])


@pytest.mark.parametrize("kind", [TypeError, ValueError, AssertionError])
def test_so_is_what_float64_cannot_decide(kind):
    class OnlyFloat32(Added):
        def forward(self, x):
            if x.dtype != torch.float32:
                raise kind("float32, please")
            return super().forward(x)

    with pytest.raises(UnsupportedModelError, match=r"parameter '0.w': .* off that of the example passed through"):
        gradient_statistics(nn.Sequential(OnlyFloat32(), nn.ReLU()), half_squares, [(AT_KINK, ONES)], spot_check=2)


def test_and_in_float64_a_disagreement_is_one():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x) * (2.0 if len(x) <= 2 else 1.0)

    with pytest.raises(UnsupportedModelError, match=r"passed through the model alone"):
        gradient_statistics(Noisy(1, 1).double(), half_squares, [(AT_KINK.double() + 1, ONES.double())])


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 8])
def test_no_example_of_a_small_batch_takes_over_from_the_one_before_it_unseen(n):
    class Passing(nn.Linear):
        def forward(self, x):
            found = super().forward(x)
            return found + torch.cat([torch.zeros_like(found[:1]), found[:-1]])

    torch.manual_seed(0)
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(
            Passing(3, 1).double(), half_squares, [(torch.randn(n, 3).double(), torch.randn(n).double())]
        )


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("which", range(8))
def test_nor_do_all_take_over_from_whichever_has_the_largest_input(n, which):
    class Scaled(nn.Linear):
        def forward(self, x):
            return super().forward(x) / x.abs().max()

    torch.manual_seed(0)
    x = torch.randn(n, 3).double()
    x[which % n, 0] = 9.0
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(Scaled(3, 1).double(), half_squares, [(x, torch.randn(n).double())])
