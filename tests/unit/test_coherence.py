"""Definitions on hand-worked gradients: every expected value is worked out in the test's name or comment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mcoherence import coherence


def sums(gradients):
    """(|S|^2, Q) of gradients [m, d] by the definition."""
    rows = np.asarray(gradients, dtype=np.float64)
    return float(np.sum(rows.sum(axis=0) ** 2)), float(np.sum(rows**2))


@pytest.mark.parametrize(
    ("gradients", "expected"),
    [
        pytest.param(np.eye(5), 1.0, id="orthogonal-equal-norms"),
        pytest.param(np.diag([1.0, 2.0, 30.0]), 1.0, id="orthogonal-unequal-norms"),
        pytest.param(np.tile([3.0, -4.0], (7, 1)), 7.0, id="identical"),
        pytest.param([[1.0, 0.0], [-1.0, 0.0]], 0.0, id="opposed-pair"),
        pytest.param(np.repeat(np.eye(3), 4, axis=0), 4.0, id="four-copies-of-three-orthogonal"),
        # S = (3, 1), |S|^2 = 10; Q = 1 + 4 + 1 = 6
        pytest.param([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], 10 / 6, id="two-directions"),
        pytest.param([[2.0, 5.0]], 1.0, id="one-example"),
    ],
)
def test_m_coherence_of_known_gradients(gradients, expected):
    assert coherence.m_coherence(*sums(gradients)) == pytest.approx(expected, rel=1e-15)


def test_all_zero_gradients_have_no_coherence():
    assert np.isnan(coherence.m_coherence(0.0, 0.0))
    assert np.isnan(coherence.alpha(0.0, 0.0, 5))


@pytest.mark.parametrize("scale", [1e-150, 1e-7, 1.0, 1e150])
def test_m_coherence_does_not_depend_on_the_scale_of_the_gradients(scale):
    squared, total = sums(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
    assert coherence.m_coherence(squared * scale, total * scale) == pytest.approx(10 / 6, rel=1e-14)


def test_alpha_is_m_coherence_over_m_and_undefined_without_examples():
    assert coherence.alpha(10.0, 6.0, 3) == pytest.approx(10 / 18)
    assert np.isnan(coherence.alpha(10.0, 6.0, 0))


@given(arrays(np.float64, (6, 4), elements=st.floats(-10, 10).filter(lambda x: x == 0 or abs(x) > 1e-3)))
def test_alpha_is_the_mean_over_all_pairs_the_diagonal_included(gradients):
    squared, total = sums(gradients)
    if total == 0:
        return
    pairs = gradients @ gradients.T
    expected = pairs.mean() / np.diag(pairs).mean()  # E[g.g'] / E[g.g], arXiv 2203.10036
    assert coherence.alpha(squared, total, 6) == pytest.approx(expected, abs=1e-12)
    assert -1e-12 <= coherence.alpha(squared, total, 6) <= 1 + 1e-12


@given(arrays(np.float64, (5, 3), elements=st.floats(-10, 10).filter(lambda x: x == 0 or abs(x) > 1e-3)))
def test_pairwise_alignment_is_the_mean_over_pairs_of_different_examples(gradients):
    squared, total = sums(gradients)
    if total == 0:
        return
    pairs = gradients @ gradients.T
    expected = pairs[~np.eye(5, dtype=bool)].mean() / np.diag(pairs).mean()
    assert coherence.pairwise_alignment(squared, total, 5) == pytest.approx(expected, abs=1e-12)


def test_pairwise_alignment_needs_two_examples():
    assert np.isnan(coherence.pairwise_alignment(1.0, 1.0, 1))


def test_alpha_of_minibatch_means_by_enumeration():
    """All 16 ordered pairs of draws from 4 vectors: their means have alpha k a / (1 + (k - 1) a), k = 2."""
    vectors = np.array([[1.0, 2.0], [0.0, 1.0], [3.0, -1.0], [1.0, 1.0]])
    means = np.array([(a + b) / 2 for a in vectors for b in vectors])
    of_examples = coherence.alpha(*sums(vectors), 4)
    of_means = coherence.alpha(*sums(means), 16)
    assert coherence.minibatch_alpha(of_examples, 2) == pytest.approx(of_means, rel=1e-14)
    assert coherence.alpha_from_minibatches(of_means, 2) == pytest.approx(of_examples, rel=1e-14)


def test_whole_network_is_the_energy_weighted_mean_of_its_layers():
    first, second = np.array([[1.0, 2.0], [0.5, -1.0]]), np.array([[3.0], [4.0]])
    whole = coherence.m_coherence(*sums(np.hstack([first, second])))
    energies = [sums(first)[1], sums(second)[1]]
    layers = [coherence.m_coherence(*sums(first)), coherence.m_coherence(*sums(second))]
    assert whole == pytest.approx(np.average(layers, weights=energies), rel=1e-14)


def test_union_of_groups_from_their_gram_matrix():
    sums_of_groups = np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 4.0]])  # S = (4, 5), |S|^2 = 41
    assert coherence.union_sq_norm_of_sum(sums_of_groups @ sums_of_groups.T) == pytest.approx(41.0)


def test_the_squared_norm_of_a_sum_is_not_below_0_by_rounding():
    assert coherence.union_sq_norm_of_sum([[1.0, -1.0 - 1e-15], [-1.0 - 1e-15, 1.0]]) == 0.0
    assert np.isnan(coherence.union_sq_norm_of_sum([[np.nan]]))


def test_diversity_and_noise_scale_are_functions_of_coherence():
    """Diversity is 1 / m-coherence (Yin et al. 2018); alpha = 1 / (1 + B_simple), plug-in covariance."""
    gradients = np.array([[1.0, 0.0], [2.0, 1.0], [0.0, 1.0], [1.5, 2.0]])
    squared, total = sums(gradients)
    mean = gradients.mean(axis=0)
    noise_scale = ((gradients - mean) ** 2).sum(axis=1).mean() / (mean**2).sum()
    assert total / squared == pytest.approx(1 / coherence.m_coherence(squared, total))
    assert coherence.alpha(squared, total, 4) == pytest.approx(1 / (1 + noise_scale))


class TestTheoremsOnFiniteDistributions:
    """The papers' theorems (arXiv 2008.01217 and 2203.10036) with expectations taken by enumeration, in float64."""

    vectors = np.array([[1.0, 2.0, 0.0], [0.5, -1.0, 2.0], [3.0, 1.0, 1.0], [-1.0, 0.5, 0.5]])

    def alpha(self, vectors, weights=None):
        """alpha(V) = E[v.v'] / E[v.v] of a distribution with the given (default equal) weights, by the double sum."""
        p = np.full(len(vectors), 1 / len(vectors)) if weights is None else np.asarray(weights)
        pairs = vectors @ vectors.T
        return (p @ pairs @ p) / (p @ np.diag(pairs))

    def test_the_library_agrees_with_the_double_sum(self):
        assert coherence.alpha(*sums(self.vectors), 4) == pytest.approx(self.alpha(self.vectors), rel=1e-14)

    def test_zero_vectors_scale_alpha_and_leave_m_coherence(self):
        """Keep v with probability p, else 0: alpha becomes p alpha (Lemma 4); |S|^2 / Q does not change."""
        diluted = np.vstack([self.vectors, np.zeros((12, 3))])  # p = 4 / 16
        assert coherence.alpha(*sums(diluted), 16) == pytest.approx(0.25 * self.alpha(self.vectors), rel=1e-14)
        assert coherence.m_coherence(*sums(diluted)) == pytest.approx(coherence.m_coherence(*sums(self.vectors)))

    @pytest.mark.parametrize("p", [0.25, 0.5, 0.75])
    def test_orthogonal_mixture(self, p):
        """With probability p from U, else from V, supports orthogonal: f p alpha_U + (1 - f)(1 - p) alpha_V exactly."""
        u = np.hstack([self.vectors, np.zeros((4, 3))])
        v = np.hstack([np.zeros((4, 3)), 2 * self.vectors[::-1] + 0.3])
        mixture = self.alpha(np.vstack([u, v]), np.repeat([p / 4, (1 - p) / 4], 4))
        energies = p * (u**2).sum() / 4, (1 - p) * (v**2).sum() / 4
        f = energies[0] / sum(energies)
        assert mixture == pytest.approx(f * p * self.alpha(u) + (1 - f) * (1 - p) * self.alpha(v), rel=1e-13)
        assert mixture <= p * self.alpha(u) + (1 - p) * self.alpha(v)

    def test_expected_difference_is_bounded_by_incoherence(self):
        """E|v - v'| <= sqrt(2 (1 - alpha) E[v.v])."""
        differences = np.linalg.norm(self.vectors[:, None] - self.vectors[None], axis=2).mean()
        energy = (self.vectors**2).sum(axis=1).mean()
        assert differences <= np.sqrt(2 * (1 - self.alpha(self.vectors)) * energy)

    def test_alpha_is_the_energy_weighted_mean_of_r_over_one_plus_r(self):
        """With GSNR r_j = mean_j^2 / var_j per parameter (Liu et al. 2020), alpha_j = r_j / (1 + r_j)."""
        mean, variance = self.vectors.mean(axis=0), self.vectors.var(axis=0)
        r = mean**2 / variance
        assert np.average(r / (1 + r), weights=(self.vectors**2).mean(axis=0)) == pytest.approx(
            self.alpha(self.vectors)
        )

    def test_a_subsample_at_a_stationary_point_is_near_one_not_zero(self):
        """N vectors that sum to zero: a random m of them have |S|^2 / Q of (N - m) / (N - 1) on average."""
        generator = np.random.default_rng(0)
        vectors = generator.normal(size=(2000, 20))
        vectors -= vectors.mean(axis=0)
        values = [
            coherence.m_coherence(*sums(vectors[generator.choice(2000, size=500, replace=False)])) for _ in range(300)
        ]
        expected = 1500 / 1999
        # a chi-squared with 20 degrees of freedom over 20 has standard deviation 0.32; over 300 draws 0.018
        assert np.mean(values) == pytest.approx(expected, abs=5 * 0.32 * expected / np.sqrt(300))
        assert coherence.m_coherence(*sums(vectors)) == pytest.approx(0.0, abs=1e-20)


# Two groups in the plane, a = {(1, 0), (1, 2)} and b = {(0, 3), (1, 0), (-1, 1)}: S_a = (2, 2), S_b = (0, 4), so
# S_a . S_b = 8, |S_a|^2 = 8, |S_b|^2 = 16, Q_a = 1 + 5 = 6, Q_b = 9 + 1 + 2 = 12.
A, B = np.array([[1.0, 0.0], [1.0, 2.0]]), np.array([[0.0, 3.0], [1.0, 0.0], [-1.0, 1.0]])


def test_measures_between_two_groups_by_hand():
    assert coherence.cosine_of_sums(8.0, 8.0, 16.0) == pytest.approx(np.sqrt(0.5))  # (2, 2) and (0, 4): 45 degrees
    assert coherence.cross_m_coherence(8.0, 6.0, 12.0) == pytest.approx(8 / np.sqrt(72))
    # mean over the six pairs: (0 + 1 - 1 + 6 + 1 + 1) / 6 = 8 / 6, over the root mean squares sqrt(3) and sqrt(4)
    assert coherence.cross_alignment(8.0, 6.0, 12.0, 2, 3) == pytest.approx(8 / 6 / np.sqrt(12))
    assert (A @ B.T).mean() == pytest.approx(8 / 6)


def test_a_group_against_itself_has_its_own_m_coherence_and_cosine_one():
    squared, total = sums(A)
    assert coherence.cross_m_coherence(squared, total, total) == pytest.approx(coherence.m_coherence(squared, total))
    assert coherence.cosine_of_sums(squared, squared, squared) == pytest.approx(1.0)


def test_the_cross_term_completes_the_m_coherence_of_the_union():
    (squared_a, q_a), (squared_b, q_b) = sums(A), sums(B)
    cross = coherence.cross_m_coherence(float(A.sum(0) @ B.sum(0)), q_a, q_b)
    m_a, m_b = coherence.m_coherence(squared_a, q_a), coherence.m_coherence(squared_b, q_b)
    union = (q_a * m_a + q_b * m_b + 2 * np.sqrt(q_a * q_b) * cross) / (q_a + q_b)
    assert union == pytest.approx(coherence.m_coherence(*sums(np.concatenate([A, B]))))


@pytest.mark.parametrize(("copies_a", "copies_b", "sign"), [(3, 5, 1.0), (4, 2, -1.0)])
def test_identical_and_opposed_examples_reach_the_bounds(copies_a, copies_b, sign):
    a, b = np.tile([3.0, 4.0], (copies_a, 1)), sign * np.tile([6.0, 8.0], (copies_b, 1))
    inner, (squared_a, q_a), (squared_b, q_b) = float(a.sum(0) @ b.sum(0)), sums(a), sums(b)
    assert coherence.cosine_of_sums(inner, squared_a, squared_b) == pytest.approx(sign)
    assert coherence.cross_m_coherence(inner, q_a, q_b) == pytest.approx(sign * np.sqrt(copies_a * copies_b))
    assert coherence.cross_alignment(inner, q_a, q_b, copies_a, copies_b) == pytest.approx(sign)


def test_groups_without_examples_or_gradients_have_no_measure_between_them():
    assert np.isnan(coherence.cosine_of_sums(0.0, 0.0, 4.0))
    assert np.isnan(coherence.cross_m_coherence(0.0, 4.0, 0.0))
    assert np.isnan(coherence.cross_alignment(0.0, 4.0, 0.0, 2, 0))
    assert np.isnan(coherence.contribution(0.0, 0.0))


def test_contributions_of_the_groups_of_a_sample_add_up_to_one():
    total = A.sum(0) + B.sum(0)  # (2, 6), squared norm 40
    of_a, of_b = (coherence.contribution(group.sum(0) @ total, total @ total) for group in (A, B))
    assert of_a == pytest.approx((4 + 12) / 40)
    assert of_b == pytest.approx(24 / 40)
