"""What a config must say for wrong labels to be looked for, and which runs that takes."""

import copy
from pathlib import Path

import pytest

from mcoherence.errors import UserError
from mcoherence.study import checks
from mcoherence.study.catalogue import all_runs, results_of
from mcoherence.study.config_files import study_config
from mcoherence.study.cutting import cut_of
from mcoherence.study.estimates import result_passes
from mcoherence.study.experiments.label_errors import keeps_every_label
from mcoherence.study.results import result
from mcoherence.study.runs import Run
from mcoherence.study.settings import table_settings

ROOT = Path(__file__).parents[3]
CONFIG = study_config(ROOT / "config.yaml", [ROOT / "studies/label_errors.yaml"], {}).config
RUN = Run("digits", "mlp", "pair_10", "sgd", "full", 0)


def changed(*keys, to):
    config = copy.deepcopy(CONFIG)
    inner = config
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    return config


def test_examples_are_scored_along_the_runs_on_everything_beside_those_on_halves():
    assert results_of(CONFIG)["example_scores"] == [run for run in all_runs(CONFIG) if run.subset == "full"]
    subsets = {run.subset for run in all_runs(CONFIG)}
    assert subsets == {"full", "half_a", "half_b", "half_a_after_b", "half_b_after_a"}
    assert table_settings(CONFIG, "label_errors")["own"]["schemes"]["pair_10"] == "pair"


def test_scores_depend_on_the_arithmetic_and_on_nothing_that_is_drawn():
    config = changed("measurement", to={"precision": "float32", "tf32": True, "seed": 3, "batch_norm": "sample"})
    settings = result("example_scores").settings
    assert settings(config, RUN) == {"precision": "float32", "tf32": True, "batch_norm": "none"}
    config["models"]["mlp"] = config["models"]["cnn"]
    assert settings(config, RUN)["batch_norm"] == "sample"
    assert result_passes(config, RUN, "example_scores", checkpoints=1) == 3 * 4 * 720 + 720  # two layers, to halfway


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"fraction": 0.0}, "whose fraction is 0, expected one between 0 and 1"),
        ({"fraction": 1.0}, "whose fraction is 1, expected one between 0 and 1"),
        ({"fraction": 0.0005}, "which changes 0 of the 720 labels of datasets.digits, expected some and not all"),
        (
            {"fraction": 0.5, "scheme": "class_conditional", "transition": {"3": "3"}},
            "whose transition keeps every label, expected one that changes some",
        ),
    ],
)
def test_labels_among_which_none_or_all_are_wrong_are_refused(entry, message):
    config = changed("labels", "pair_10", to=entry)
    with pytest.raises(UserError, match=rf"^label_errors\.labels: found pair_10, {message}") as caught:
        checks.check_references(config)
    assert "\n" not in str(caught.value)


def test_a_transition_changes_labels_unless_it_is_the_identity():
    assert keeps_every_label({"transition": [[1, 0], [0, 1]]})
    assert not keeps_every_label({"transition": [[1, 0], [0.1, 0.9]]})
    assert not keeps_every_label({"transition": {"3": "3", "4": "5"}})
    assert not keeps_every_label({"fraction": 0.5})


def test_an_example_of_a_mini_batch_has_no_gradient_of_its_own():
    config = changed("measurement", "batch_norm", to="minibatch")
    config["models"]["mlp"] = config["models"]["cnn"]
    with pytest.raises(UserError, match=r"models\.mlp in the experiment label_errors, .*: single examples that share"):
        checks.check_references(config)


def test_many_checkpoints_are_scored_in_blocks_and_never_in_shards(monkeypatch):
    monkeypatch.setattr("mcoherence.study.cutting.MEASURED_IN_PARTS", 1)
    config = changed("operational", to={"examples_per_shard": 9, "checkpoints_per_job": 8})
    cut = cut_of(config, RUN, "example_scores")
    assert (cut.whole, cut.shards, cut.blocks[0]) == (False, 1, (0, 128))
