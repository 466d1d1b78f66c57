"""What holds exactly, on any data (level I): each is a test of the code, which every run of the tests makes.

These are no claims about a study, so they have no interval and no verdict; the claims' page names them for whoever asks
what the measured numbers rest on.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """An exact statement, its source, and the test of it, as pytest names it."""

    id: str
    statement: str
    source: str
    test: str


_COHERENCE = "tests/unit/test_coherence.py::"
_THEOREMS = f"{_COHERENCE}TestTheoremsOnFiniteDistributions::"

IDENTITIES = tuple(
    Identity(f"I{number}", *texts)
    for number, texts in enumerate(
        (
            (
                "m-coherence is 1 for orthogonal, m for identical and 0 for cancelling gradients.",
                "arXiv 2008.01217",
                f"{_COHERENCE}test_m_coherence_of_known_gradients",
            ),
            (
                "m-coherence does not change with the scale of the gradients.",
                "arXiv 2008.01217",
                f"{_COHERENCE}test_m_coherence_does_not_depend_on_the_scale_of_the_gradients",
            ),
            (
                "alpha from two running sums is the mean over all pairs of examples, the diagonal included.",
                "arXiv 2203.10036; 2008.01217",
                f"{_COHERENCE}test_alpha_is_the_mean_over_all_pairs_the_diagonal_included",
            ),
            (
                "Means of k draws have alpha k alpha / (1 + (k - 1) alpha).",
                "arXiv 2008.01217",
                f"{_COHERENCE}test_alpha_of_minibatch_means_by_enumeration",
            ),
            (
                "Zero gradients scale alpha down and leave m-coherence as it is.",
                "arXiv 2008.01217; the second half is derived",
                f"{_THEOREMS}test_zero_vectors_scale_alpha_and_leave_m_coherence",
            ),
            (
                "The whole network's m-coherence is the mean of its layers', weighted by squared gradient norm.",
                "arXiv 2203.10036",
                f"{_COHERENCE}test_whole_network_is_the_energy_weighted_mean_of_its_layers",
            ),
            (
                "alpha of a mixture of orthogonal parts is at most the mixture of their alphas.",
                "arXiv 2203.10036",
                f"{_THEOREMS}test_orthogonal_mixture",
            ),
            (
                "The expected distance of two gradients is at most sqrt(2 (1 - alpha) E|v|²).",
                "arXiv 2203.10036",
                f"{_THEOREMS}test_expected_difference_is_bounded_by_incoherence",
            ),
            (
                "Gradient diversity and the gradient noise scale are functions of coherence.",
                "arXiv 2008.01217 for diversity; the noise scale is derived",
                f"{_COHERENCE}test_diversity_and_noise_scale_are_functions_of_coherence",
            ),
            (
                "alpha is the mean over the parameters of r / (1 + r), r the signal-to-noise ratio of their gradients, "
                "weighted by squared gradient norm.",
                "derived",
                f"{_THEOREMS}test_alpha_is_the_energy_weighted_mean_of_r_over_one_plus_r",
            ),
            (
                "Every layer's sums are those of single examples, one by one; so their mean is autograd's gradient.",
                "derived",
                "tests/unit/gradients/test_statistics.py::test_every_layer_equals_the_loop_over_examples",
            ),
            (
                "The contributions of pristine and corrupt examples add up to 1.",
                "arXiv 2002.10657",
                f"{_COHERENCE}test_contributions_of_the_groups_of_a_sample_add_up_to_one",
            ),
            (
                "The regressions in six dimensions end at the derived weights and losses.",
                "arXiv 2203.10036, section 3, for the data; the values are derived",
                "tests/unit/tables/test_toy.py::test_end_values_are_exact_to_float64",
            ),
            (
                "Winsorised SGD with c = 0 is SGD.",
                "arXiv 2002.10657",
                "tests/unit/optim/test_winsorized.py::"
                "test_nothing_clipped_is_torchs_sgd_with_momentum_and_weight_decay",
            ),
            (
                "RM3 makes no update in its first two steps, then follows the median of the last three gradients.",
                "arXiv 2003.07422, released code",
                "tests/unit/optim/test_robust.py::test_rm3_waits_two_steps_then_follows_the_median_of_the_last_three",
            ),
            (
                "RA3 waits as RM3 does and follows the mean.",
                "arXiv 2003.07422, released code",
                "tests/unit/optim/test_robust.py::test_ra3_waits_two_steps_then_follows_the_mean_of_the_last_three",
            ),
            (
                "M3 follows the coordinate-wise median of its groups' mean gradients.",
                "arXiv 2003.07422",
                "tests/unit/optim/test_robust.py::test_m3_steps_along_the_median_of_its_groups_and_returns_the_mean_loss",
            ),
        ),
        start=1,
    )
)
