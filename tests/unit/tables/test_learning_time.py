"""When the examples of a run are learned for good, from predictions written out by hand."""

import numpy as np

from mcoherence.tables.learning_time import table


def test_learning_times_by_group(study, described):
    # learned at 0, at 10, never (right, then forgotten), at 20
    study.write_evaluation([[0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 0, 0]], [[0] * 4] * 3)
    found = table(study.results, [study.run], study.noise)
    described("learning_time", found)
    rows = found.set_index("group")
    assert rows["n"].to_dict() == {"all": 4, "pristine": 2, "corrupt": 2}
    assert rows["learned"].to_dict() == {"all": 0.75, "pristine": 1.0, "corrupt": 0.5}
    assert rows["median_step"].to_dict() == {"all": 20.0, "pristine": 10.0, "corrupt": np.inf}
    assert set(rows["noise"]) == {0.8}
    assert set(rows["seed"]) == {3}


def test_a_run_that_diverged_has_learned_nothing_that_could_be_said(study):
    study.write_evaluation([[0, 0, 1, 1], [-1] * 4], [[0] * 4] * 2, diverged=[False, True])
    rows = table(study.results, [study.run], study.noise)
    assert rows["diverged"].all()
    assert rows[["learned", "median_step"]].isna().all(axis=None)


def test_of_a_sample_only_its_examples_learn(study):
    study.write_evaluation([[0, 0], [1, 1], [1, 0]], [[0] * 4] * 3, index=[1, 3])  # 1 at 10, pristine; 3 at 20, corrupt
    rows = table(study.results, [study.run], study.noise).set_index("group")
    assert rows["n"].to_dict() == {"all": 2, "pristine": 1, "corrupt": 1}
    assert rows["median_step"].to_dict() == {"all": 20.0, "pristine": 10.0, "corrupt": 20.0}
