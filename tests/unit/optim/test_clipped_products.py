"""The clipped mean of outer products against that of the products themselves, sorted."""

import numpy as np
import pytest
import torch

from mcoherence.optim.clipped_products import extremes, mean_of_products


def clipped_mean(products, rank):
    """Of products [n, ...], by sorting all of them, in float64."""
    ordered = np.sort(products.double().numpy(), axis=0)
    return np.clip(ordered, ordered[rank], ordered[len(ordered) - 1 - rank]).mean(axis=0)


def factors(n):
    """Gradients [n, 9] and inputs [n, 8] as behind a ReLU, with outputs and inputs of every odd kind."""
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(n, 9, generator=generator), torch.randn(n, 8, generator=generator).relu()
    left *= torch.randn(n, 9, generator=generator) > 0
    left[:, 1], left[2:, 2] = 0, 0  # an output that no example reaches, one that two reach
    left[:, 3] = left[:, 3].abs() + 0.1  # and one that all push the same way
    right[:, 4], right[:, 5] = -0.4, 0  # inputs that never change
    right[1:, 6] = 0.3  # and one that changes once
    return left, right


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 8])
@pytest.mark.parametrize("n", [17, 100, 103])
def test_products_are_clipped_as_if_all_had_been_made_and_sorted(n, rank):
    left, right = factors(n)
    expected = clipped_mean(left[:, :, None] * right[:, None], rank)
    assert mean_of_products(left, right, rank).numpy() == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("n", range(5, 24))
def test_extremes_of_few_rows_with_ties_are_those_of_sorted_rows(n, rank):
    values = torch.from_numpy(np.random.default_rng(n).integers(-3, 4, size=(n, 50)).astype(np.float32))
    low, high = extremes(values.clone(), rank)
    ordered = values.sort(dim=0).values
    assert torch.equal(low, ordered[rank])
    assert torch.equal(high, ordered[-1 - rank])


def test_one_huge_product_costs_the_others_no_digits():
    left, right = torch.arange(1.0, 12.0)[:, None], torch.tensor([[1.0]] * 10 + [[1e30]])
    clipped = [2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10]
    assert mean_of_products(left, right, 1).item() == pytest.approx(sum(clipped) / 11, rel=1e-6)


@pytest.mark.parametrize("rank", [1, 3])
def test_infinities_are_clipped_and_what_is_not_a_number_is_not_hidden(rank):
    left, right = factors(17)
    right[4, 0], left[7, 8] = torch.inf, torch.nan
    mean = mean_of_products(left, right, rank)
    products = left[:, :, None] * right[:, None]
    assert torch.equal(mean.isnan(), products.isnan().any(dim=0))
    kept = ~mean.isnan().numpy()
    assert mean.isfinite().numpy()[kept].all()
    assert mean.numpy()[kept] == pytest.approx(clipped_mean(products, rank)[kept], rel=1e-6, abs=1e-7)


def test_a_repeated_call_has_the_same_bytes_and_leaves_the_factors():
    left, right = factors(100)
    before = left.clone(), right.clone()
    first, second = (mean_of_products(left, right, 2) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(left, before[0])
    assert torch.equal(right, before[1])
