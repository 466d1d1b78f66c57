"""Coherence on samples of several sizes, one file each."""

import pytest

from mcoherence.tables.sample_size import table


def test_every_size_has_its_rows_after_those_of_the_studys_own_size(study, described):
    for name, n, pristine in (("coherence", [3, 3, 1], 2), ("coherence_m2", [1, 1, 1], 1)):
        sums = [[[pristine, 0], [1, 1], [9, 9]]]
        study.write_coherence(sums, [[[4, 0], [3, 3], [9, 9]]], n, steps=[8], name=name)
    found = table(study.results, [study.run], study.noise, sizes=[2])
    described("sample_size", found)
    assert found["m"].tolist() == [6, 2]
    assert found["own_sample"].tolist() == [True, False]
    # of both groups together: (3, 1) and (2, 1) over Q = 10
    assert found["m_coherence"].tolist() == pytest.approx([1.0, 0.5])
    assert found["alpha"].tolist() == pytest.approx([1.0 / 6, 0.5 / 2])
    assert found["pairwise_alignment"].tolist() == pytest.approx([0.0, -0.5])  # (1 - 1) / 5 and (0.5 - 1) / 1
    assert found["batch_norm"].tolist() == ["sample", "sample"]
    assert found["step"].tolist() == [8, 8]
