"""Networks drawn at random equal the loop over single examples, or are refused; `make test-faults` draws many more."""

import pytest

from tests.unit.gradients.randomised_search import search

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's, on hooks that are drawn on purpose


def test_drawn_networks_equal_the_loop_or_are_refused():
    outcomes = search(100, of_seed=1)
    assert outcomes["measured"] >= 80  # whoever refuses everything is never wrong


def test_drawn_networks_that_mix_examples_are_refused():
    outcomes = search(20, of_seed=1, mixing=True)
    assert outcomes["refused"] >= 15  # the others are those whose loss does not depend on what is mixed
