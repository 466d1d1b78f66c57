"""Noise scale, GSNR, diversity, stiffness and confusion against the dense Gram matrix of per-example gradients."""

import numpy as np
import pytest
import torch
from torch import nn

from mcoherence import example_gram, example_statistics, gradient_statistics
from mcoherence.gradients import gram as gram_module
from mcoherence.gradients import noise, pairs
from mcoherence.gradients.batch.evidence import IdentityError
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.reference import per_example_gradients

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")
DIFFERENT = ~np.eye(9, dtype=bool)


@pytest.fixture(scope="module")
def measured():
    """(model, batches, rows float64 [9, P], classes [9]); most targets are one, so that gradients have a mean."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    inputs, labels = torch.randn(9, 4).double(), torch.tensor([0, 0, 0, 1, 0, 0, 0, 2, 0])
    rows = per_example_gradients(model, PER_EXAMPLE, inputs, labels)
    flat = torch.cat([value.reshape(9, -1) for value in rows.values()], dim=1).numpy()
    return model, [(inputs[:5], labels[:5]), (inputs[5:], labels[5:])], flat, np.arange(9) % 3


@pytest.fixture(scope="module")
def gram(measured):
    return measured[2] @ measured[2].T


def test_the_gram_matrix_is_that_of_the_rows_in_one_block_and_in_several(measured, gram, monkeypatch):
    model, batches, *_ = measured
    np.testing.assert_allclose(example_gram(model, PER_EXAMPLE, batches), gram, atol=1e-14)
    monkeypatch.setattr(gram_module, "ELEMENTS", 4 * 2 * 43)  # blocks of 4 examples of 43 weights
    np.testing.assert_allclose(example_gram(model, PER_EXAMPLE, batches), gram, atol=1e-14)


def test_variance_and_mean_are_those_of_the_rows_and_their_ratio_is_the_noise_scale(measured, gram):
    model, batches, rows, _ = measured
    sums = gradient_statistics(model, PER_EXAMPLE, batches)
    variance = rows.var(axis=0, ddof=1).sum()
    mean = gram[DIFFERENT].mean()
    assert sums.gradient_variance() == pytest.approx(variance)
    assert sums.mean_gradient_sq_norm() == pytest.approx(mean)
    assert sums.noise_scale() == pytest.approx(variance / mean)
    head = rows[:, 25:]
    assert sums.noise_scale("layer")["2"] == pytest.approx(
        head.var(axis=0, ddof=1).sum() / (head @ head.T)[DIFFERENT].mean()
    )


def test_both_parts_of_the_noise_scale_are_unbiased():
    # All samples of two examples, drawn independently of the gradients 0 and 2: mean 1, variance 1.
    samples = [(0.0, 0.0), (0.0, 2.0), (2.0, 0.0), (2.0, 2.0)]
    squared, total = [sum(s) ** 2 for s in samples], [s[0] ** 2 + s[1] ** 2 for s in samples]
    assert noise.gradient_variance(squared, total, 2).mean() == 1.0
    assert noise.mean_gradient_sq_norm(squared, total, 2).mean() == 1.0
    assert np.mean(squared) / 4 == 1.5  # the plain |S|^2 / m^2 is too large by the variance over m


def test_a_mean_that_is_not_told_from_zero_has_no_noise_scale():
    assert np.isnan(noise.noise_scale(noise.gradient_variance(0.0, 2.0, 2), noise.mean_gradient_sq_norm(0.0, 2.0, 2)))
    assert np.isnan(noise.gradient_variance(1.0, 1.0, 1))


def test_the_running_noise_scale_is_a_ratio_of_means_and_not_a_mean_of_ratios():
    found = noise.running_noise_scale([1.0, 3.0], [1.0, -0.5], decay=0.5)
    # Weights 1/2 and 1: (0.5 + 3) / 1.5 over (0.5 - 0.5) / 1.5, which is 0.
    assert found[0] == 1.0
    assert np.isnan(found[1])
    assert noise.running_noise_scale([1.0, 3.0], [1.0, 1.0], decay=0.5)[1] == pytest.approx(3.5 / 1.5)
    with pytest.raises(ValueError, match="decay: found 1"):
        noise.running_noise_scale([1.0], [1.0], decay=1)


@pytest.mark.parametrize("times", [2, 3, 7, 64])
def test_equal_gradients_have_no_variance_in_float32(times):
    """Whatever rounding makes of Q - |S|^2 / n: no noise, and a signal without any."""
    torch.manual_seed(times)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 3))
    for inputs, label in zip(torch.randn(8, 20), (0, 1, 2, 0, 1, 2, 0, 1), strict=True):
        sums = gradient_statistics(model, PER_EXAMPLE, [(inputs.expand(times, 20), torch.full((times,), label))])
        assert sums.gradient_variance() == sums.noise_scale() == 0.0
        assert set(sums.gradient_variance("layer").values()) == {0.0}
        assert sums.gradient_signal_to_noise_ratio() == np.inf


def test_a_small_variance_that_is_no_rounding_is_kept():
    """Gradients 1 and 1 + 1e-6 of float64: variance 5e-13, of which float32 would know nothing."""
    squared, total = (2.0 + 1e-6) ** 2, 1.0 + (1.0 + 1e-6) ** 2
    assert noise.gradient_variance(squared, total, 2, rounding=1e-14) == pytest.approx(5e-13, rel=1e-3)
    assert noise.gradient_variance(squared, total, 2, rounding=1e-5) == 0.0
    assert noise.gradient_variance(9.0000001, 3.0, 3) == 0.0  # below 0 by rounding
    assert noise.gradient_signal_to_noise_ratio(9.0000001, 3.0, 3) == np.inf


def test_diversity_is_the_reciprocal_of_m_coherence(measured, gram):
    model, batches, *_ = measured
    sums = gradient_statistics(model, PER_EXAMPLE, batches)
    assert sums.gradient_diversity() == pytest.approx(np.trace(gram) / gram.sum())
    assert sums.gradient_diversity() == pytest.approx(1 / sums.m_coherence())


def test_gsnr_of_elements_is_mean_over_variance_and_of_a_model_the_ratio_of_sums(measured):
    model, batches, rows, _ = measured
    elements = noise.gradient_signal_to_noise_ratio(rows.sum(axis=0) ** 2, (rows**2).sum(axis=0), 9)
    np.testing.assert_allclose(elements, rows.mean(axis=0) ** 2 / rows.var(axis=0), rtol=1e-9)
    sums = gradient_statistics(model, PER_EXAMPLE, batches)
    assert sums.gradient_signal_to_noise_ratio() == pytest.approx(
        (rows.mean(axis=0) ** 2).sum() / rows.var(axis=0).sum()
    )
    assert sums.gradient_signal_to_noise_ratio() == pytest.approx(sums.alpha() / (1 - sums.alpha()))


def test_the_share_that_a_step_helps_counts_positive_products(measured, gram):
    model, batches, *_ = measured
    found = example_statistics(model, PER_EXAMPLE, batches, along="sum", leave_one_out=True)
    others = gram.sum(axis=1) - np.diag(gram)
    assert found.share_helped("sum") == pairs.share_helped(found.dot["sum"]) == (others > 0).mean()
    assert np.isnan(pairs.share_helped([]))


def of_batch_mean(outputs, _):
    return (outputs - outputs.mean(0)).square().sum(1)


def divided_by_the_batch(outputs, targets):
    return PER_EXAMPLE(outputs, targets) / len(targets)


@pytest.mark.parametrize("loss_fn", [of_batch_mean, divided_by_the_batch])
@pytest.mark.parametrize("measure", [gradient_statistics, example_gram])
def test_losses_that_mix_examples_are_refused_by_the_gram_matrix_too(measured, loss_fn, measure):
    model, batches, *_ = measured
    with pytest.raises((UnsupportedModelError, IdentityError)):
        measure(model, loss_fn, batches)


def test_stiffness_by_sign_and_cosine_over_pairs_of_different_examples(gram):
    unit = gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
    assert pairs.stiffness(pairs.sign_agreement(gram)) == np.sign(gram[DIFFERENT]).mean()
    assert pairs.stiffness(pairs.gradient_cosines(gram)) == pytest.approx(unit[DIFFERENT].mean())


def test_stiffness_within_and_between_classes(measured, gram):
    labels = measured[3]
    matrix = pairs.stiffness_by_class(gram, labels)
    same = np.equal.outer(labels, labels) & DIFFERENT
    assert matrix[0, 1] == pytest.approx(gram[np.ix_(labels == 0, labels == 1)].mean())
    within, between = pairs.within_and_between_classes(matrix)
    assert within == pytest.approx(gram[same].mean())  # classes of one size
    assert between == pytest.approx(gram[np.not_equal.outer(labels, labels)].mean())
    assert np.isnan(pairs.stiffness_by_class(gram[:1, :1], [1])[1, 1])  # one example makes no pair


def test_what_the_gram_matrix_tells_worked_by_hand():
    """Gradients (1, 0), (2, 0), (0, -1) and (-1, 0), of classes 0, 0, 1 and 1: cosines 1, 0, -1; 0, -1; 0.

    A linear unit's gradient is its input.
    """
    inputs = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, -1.0], [-1.0, 0.0]])
    found = example_gram(
        nn.Linear(2, 1, bias=False).double(), lambda o, _: o[:, 0], [(inputs.double(), torch.zeros(4))]
    )
    labels = [0, 0, 1, 1]
    assert (found.n, found.sq_norm.tolist()) == (4, [1, 4, 1, 1])
    assert found.cosines.tolist() == [[1, 1, 0, -1], [1, 1, 0, -1], [0, 0, 1, 0], [-1, -1, 0, 1]]
    for of in ("sign", "cosine"):
        assert found.stiffness(of) == pytest.approx(-1 / 6)
        assert found.stiffness_by_class(labels, of).tolist() == [[1, -0.5], [-0.5, 0]]
        assert found.within_and_between_classes(labels, of) == (0.5, -0.5)
    assert found.gradient_confusion() == 2  # of (2, 0) with (-1, 0)
    assert found.minimum_cosine() == -1
    assert np.asarray(found)[1].tolist() == [2, 4, 0, -2]
    with pytest.raises(ValueError, match="of: found 'signs', expected 'sign' or 'cosine'"):
        found.stiffness("signs")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"labels: found int64 of shape \(2,\), expected an integer for each of 3 examples"),
        ([0, 1, -1], "labels: found -1, expected integers from 0"),
        ([0.0, 1.0, 1.0], r"labels: found float64 of shape \(3,\), expected an integer"),
        ([True, False, True], "labels: found bool"),
    ],
)
def test_labels_that_are_none_of_these_examples_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        pairs.stiffness_by_class(np.eye(3), labels)


def test_cosines_are_no_more_than_1_whatever_rounding_makes_of_them():
    rows = np.random.default_rng(0).normal(size=(40, 7))
    both = np.concatenate([rows, 3 * rows, -rows])
    cosines = pairs.gradient_cosines(both @ both.T)
    assert cosines.max() == 1.0
    assert cosines.min() == -1.0


def test_a_zero_gradient_has_no_cosine_and_is_left_out():
    gram = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, -2.0], [0.0, -2.0, 4.0]])
    assert pairs.stiffness(pairs.gradient_cosines(gram)) == -1.0
    assert pairs.stiffness(pairs.sign_agreement(gram)) == pytest.approx(-1 / 3)
    assert pairs.minimum_cosine(gram) == -1.0


def test_confusion_is_the_least_product_of_a_pair(gram):
    assert pairs.gradient_confusion(gram) == -gram[DIFFERENT].min()
    assert pairs.gradient_confusion([[1.0, 0.5], [0.5, 1.0]]) == 0.0
    assert np.isnan(pairs.gradient_confusion([[1.0]]))
    assert np.isnan(pairs.gradient_confusion(np.full((2, 2), np.nan)))
    assert np.isnan(pairs.share_helped([np.nan, 1.0]))


def test_what_is_no_gram_matrix_is_refused():
    with pytest.raises(ValueError, match=r"found an array of shape \(3,\)"):
        pairs.gradient_confusion([1.0, 2.0, 3.0])
