"""Coherence by group and layer, from sums written out by hand."""

import numpy as np
import pytest

from mcoherence.tables.coherence import table


def test_coherence_of_groups_their_union_and_layers(study, described):
    # one checkpoint, three parameters in two layers
    sums = [[[1, 2, 3], [4, 0, -1], [0, 0, 2]]]
    totals = [[[1, 3, 5], [9, 1, 2], [0, 0, 4]]]
    study.write_coherence(sums, totals, n=[2, 3, 1], steps=[7])
    found = table(study.results, [study.run], study.noise)
    described("coherence", found)
    assert found["layer"].tolist() == ["model", "conv", "output"] * 4
    assert found["layer_type"].tolist() == ["", "Conv2d", "Linear"] * 4
    rows = found.set_index(["group", "layer"])
    assert rows.loc[("pristine", "conv"), "m_coherence"] == pytest.approx((1 + 4) / (1 + 3))
    assert rows.loc[("train", "conv"), "m_coherence"] == pytest.approx((5**2 + 2**2) / (1 + 3 + 9 + 1))
    assert rows.loc[("train", "model"), "sq_norm_of_sum"] == pytest.approx(25 + 4 + 4)
    assert rows.loc[("train", "model"), "n"] == 5
    assert rows.loc[("heldout", "model"), "m_coherence"] == pytest.approx(1.0)
    assert np.isnan(rows.loc[("heldout", "conv"), "m_coherence"])
    assert rows.loc[("train", "model"), "alpha"] == pytest.approx(33 / 21 / 5)
    assert rows.loc[("train", "model"), "pairwise_alignment"] == pytest.approx((33 / 21 - 1) / 4)
    assert (rows["batch_norm"] == "sample").all()
