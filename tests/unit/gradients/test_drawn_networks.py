"""Networks drawn at random equal the loop over single examples, or are refused; `make test-search` draws many more."""

import pytest

from tests.unit.gradients.drawn_networks import pieces
from tests.unit.gradients.randomised_search import measure, search

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's, on hooks that are drawn on purpose


PIECES = pieces()
# What no loop over examples adds up to, and what changes from pass to pass.
TO_BE_REFUSED = {name for name in PIECES if name.startswith("mixing")} | {"altered: calls counted in a buffer"}
MAY_BE_REFUSED = {"layer: complex weight", "altered: gradients clamped", "altered: large gradients clamped"}


@pytest.mark.parametrize("name", PIECES)
def test_every_piece_alone_equals_the_loop_or_is_refused_as_it_should(name):
    outcome = measure(PIECES[name])
    assert outcome != "not a network"
    if name in TO_BE_REFUSED:
        assert outcome != "measured"
    elif name not in MAY_BE_REFUSED:
        assert outcome == "measured"


def test_drawn_networks_equal_the_loop_or_are_refused():
    outcomes = search(100, of_seed=1)
    assert outcomes["measured"] >= 80  # whoever refuses everything is never wrong


def test_drawn_networks_that_mix_examples_are_refused():
    outcomes = search(20, of_seed=1, mixing=True)
    assert outcomes["refused"] >= 15  # the others are those whose loss does not depend on what is mixed
