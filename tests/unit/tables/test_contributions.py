"""Contributions of pristine and corrupt examples, from the sums of cells written out by hand."""

import numpy as np
import pytest

from mcoherence.files.hdf5 import write_hdf5
from mcoherence.measuring.worlds import corrupt_cells
from mcoherence.study.result_names import CONTRIBUTIONS_SCHEMA
from mcoherence.tables.contributions import table


def test_contributions_of_the_measured_world_and_a_null_world(study, sums_of, normalised, described):
    # cells pp, cp, pc, cc with 2, 1, 1, 1 examples; their sums in one parameter and none in another, at two checkpoints
    sums = [[[3, 0], [1, 0], [2, 0], [-2, 0]], [[0, 0], [2, 0], [0, 0], [0, 0]]]
    content = sums_of(["pp", "cp", "pc", "cc"], sums, np.ones((2, 4, 2)), n=[2, 1, 1, 1], steps=[0, 10])
    content["corrupt_cells"] = corrupt_cells(2)
    write_hdf5(study.file("contributions"), CONTRIBUTIONS_SCHEMA, content, normalised)
    found = table(study.results, [study.run], study.noise)
    described("contributions", found)
    rows = found.set_index(["world", "step"])
    # S = 4: pristine 3 + 2 = 5, corrupt 1 - 2 = -1; with shuffled tags 3 + 1 = 4 and 2 - 2 = 0
    first, null = rows.loc[("measured", 0)], rows.loc[("null 1", 0)]
    assert (first["f_pristine"], first["f_corrupt"]) == pytest.approx((5 / 4, -1 / 4))
    assert (null["f_pristine"], null["f_corrupt"]) == pytest.approx((1.0, 0.0))
    assert (first["n_pristine"], first["n_corrupt"], null["n_pristine"]) == (3, 2, 3)
    assert (rows["f_pristine"] + rows["f_corrupt"]).to_numpy() == pytest.approx(1.0)
    # five examples: <g, g^p> = 5 * 4 / 25 at first, 0 at last; ten updates; three pristine examples
    last = rows.loc[("measured", 10)]
    assert last["i_pristine"] == pytest.approx(10 * (20 / 25 + 0) / 2 / 3)
    assert last["i_corrupt"] == pytest.approx(10 * (-4 / 25 + 4 / 25) / 2 / 2)
    assert first["i_pristine"] == 0.0
    assert (rows["batch_norm"] == "sample").all()
