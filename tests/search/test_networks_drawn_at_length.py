"""The search among drawn networks at length; MCOHERENCE_SEARCH_SEED, 0 unless set, is another 2,000 of them."""

import os

import pytest

from tests.unit.gradients.randomised_search import search

pytestmark = [pytest.mark.apart, pytest.mark.filterwarnings("ignore")]  # torch's, on hooks that are drawn on purpose
SEED = int(os.environ.get("MCOHERENCE_SEARCH_SEED", "0"))
PARTS = 10


def searched(part: int, mixing: bool, examples: int = 200):
    """Outcomes of one part; whatever is found says how to find it again."""
    try:
        return search(examples, of_seed=SEED * 2 * PARTS + 2 * part + mixing, mixing=mixing)
    except Exception as error:
        error.add_note(f"part {part} of MCOHERENCE_SEARCH_SEED={SEED}")
        raise


@pytest.mark.parametrize("part", range(PARTS))
def test_drawn_networks_equal_the_loop_or_are_refused(part):
    outcomes = searched(part, mixing=False)
    assert outcomes["measured"] >= 150


@pytest.mark.parametrize("part", range(2))
def test_drawn_networks_that_mix_examples_are_refused(part):
    outcomes = searched(part, mixing=True)
    assert outcomes["refused"] >= 100
