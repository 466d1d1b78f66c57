"""Groups against each other, from sums written out by hand."""

import numpy as np
import pytest

from mcoherence.tables.group_alignment import table


def test_groups_against_each_other(measured, described):
    found = table(measured.results, [measured.run], measured.noise)
    described("group_alignment", found)
    rows = found.set_index(["group_a", "group_b", "step"]).sort_index()
    assert set(rows.index.droplevel("step")) == {
        ("pristine", "corrupt"), ("pristine", "heldout"), ("corrupt", "heldout"), ("heldout", "train"),
    }  # fmt: skip
    opposed = rows.loc[("pristine", "corrupt", 4)]
    assert opposed["inner"] == -3.0
    assert opposed["cosine"] == pytest.approx(-1.0)
    assert opposed["cross_m_coherence"] == pytest.approx(-3 / np.sqrt(9 * 4))
    assert opposed["cross_alignment"] == pytest.approx(-0.5 / np.sqrt(2 * 4))
    assert rows.loc[("pristine", "corrupt", 0), "cosine"] == 0.0
    assert np.isnan(rows.loc[("pristine", "corrupt", 8), "cosine"])  # no gradient of pristine examples
    # train sums (2, 1), Q = 13; held-out (1, 0), Q = 1
    both = rows.loc[("heldout", "train", 0)]
    assert both["cosine"] == pytest.approx(2 / np.sqrt(5))
    assert both["cross_m_coherence"] == pytest.approx(2 / np.sqrt(13))
    assert (both["n_a"], both["n_b"]) == (1, 6)
    assert (rows["batch_norm"] == "sample").all()
