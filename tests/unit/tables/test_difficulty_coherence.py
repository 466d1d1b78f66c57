"""How gradients of easy and hard examples agree, against the gradients themselves."""

import numpy as np
import pytest

from mcoherence.coherence import cosine_of_sums, cross_alignment
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.study.result_names import DIFFICULTY_COHERENCE_SCHEMA
from mcoherence.tables.difficulty_coherence import table


def test_coherence_within_and_across_groups_from_gradients(study, sums_of, normalised, described):
    """Against per-example gradients: means of inner products of pairs, one by one."""
    generator = np.random.default_rng(0)
    gradients = {"easy_train": generator.normal(size=(3, 5)) + 1, "hard_train": generator.normal(size=(4, 5))}
    sums = np.stack([g.sum(axis=0) for g in gradients.values()])
    norms = np.stack([np.square(g).sum(axis=0) for g in gradients.values()])
    content = sums_of(gradients, sums[None], norms[None], n=[3, 4], steps=[3])
    write_hdf5(study.file("difficulty_coherence"), DIFFICULTY_COHERENCE_SCHEMA, content, normalised)
    found = table(study.results, [study.run], study.noise)
    described("difficulty_coherence", found)
    rows = found.set_index(["group", "other"])
    easy, hard = gradients.values()
    within = rows.loc[("easy_train", "easy_train")]
    products = easy @ easy.T
    assert within["m_coherence"] == pytest.approx(products.sum() / np.trace(products))
    assert within["alpha"] == pytest.approx(within["m_coherence"] / 3)
    others = [products[i, j] for i in range(3) for j in range(3) if i != j]
    assert within["pairwise_alignment"] == pytest.approx(np.mean(others) / np.mean(np.diag(products)))
    assert within["alignment"] == within["pairwise_alignment"]  # of a group with itself they are one
    assert (within["cosine"], within["n"]) == (1, 3)
    across = rows.loc[("easy_train", "hard_train")]
    energies = [np.mean(np.square(g).sum(axis=1)) for g in (easy, hard)]
    assert across["alignment"] == pytest.approx(np.mean(easy @ hard.T) / np.sqrt(np.prod(energies)))
    means = [g.mean(axis=0) for g in (easy, hard)]
    assert across["cosine"] == pytest.approx(means[0] @ means[1] / np.prod([np.linalg.norm(g) for g in means]))
    assert across[["m_coherence", "alpha", "pairwise_alignment"]].isna().all()  # they are of one group
    assert (rows["batch_norm"] == "sample").all()
    assert len(rows) == 3


def test_agreement_of_gradients_that_vanish_is_missing():
    assert np.isnan(cosine_of_sums(0.0, 0.0, 1.0))
    assert np.isnan(cross_alignment(0.0, 0.0, 1.0, 3, 3))
    assert cross_alignment(6 * 4.0, 2 * 4.0, 3 * 4.0, 2, 3) == pytest.approx(
        1
    )  # two and three times one gradient of norm 2
