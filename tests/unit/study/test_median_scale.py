"""The entries and runs that the experiment on medians makes of its section."""

import pytest

from mcoherence.errors import UserError
from mcoherence.study.catalogue import with_entries_made
from mcoherence.study.experiments import median_scale
from mcoherence.study.runs import runs_of_grids
from mcoherence.study.settings import training_of

SECTION = {
    "datasets": ["d"], "models": ["net"], "labels": "half", "optimizers": ["sgd", "m3", "clipped"],
    "reference_optimizer": "sgd", "rates": [0.5, 2], "tuning_seeds": [100], "seeds": [0, 1],
    "batches": [{"batch_size": 3, "updates": 40, "without": ["clipped"]}, {"batch_size": 60, "updates": 10}],
}  # fmt: skip
CONFIG = {
    "experiments": ["median_scale"],
    "optimizers": {
        "sgd": {"method": "sgd", "lr": 0.3},
        "m3": {"method": "m3", "lr": 0.2, "groups": 3},
        "clipped": {"method": "winsorized", "lr": 0.3, "c": 8},
    },
    "training": {"updates": 7, "batch_size": 5},
    "labels": {"clean": {"fraction": 0}, "half": {"fraction": 0.5}, "random": {"fraction": 1}},
    "claims": {"equal_fit": 0.9},
    "median_scale": SECTION,
}


def with_section(**other):
    return CONFIG | {"median_scale": SECTION | other}


def test_an_entry_is_made_for_every_optimiser_batch_size_and_rate():
    config = with_entries_made(CONFIG)
    made = set(config["optimizers"]) - set(CONFIG["optimizers"])
    assert len(made) == 2 * 2 + 3 * 2
    assert config["optimizers"]["m3_batch3_rate1"] == {"method": "m3", "lr": 0.4, "groups": 3}
    assert training_of(config, "d", "net", "m3_batch3_rate1") | {"checkpoints": None} == {
        "updates": 40, "batch_size": 3, "checkpoints": None,
    }  # fmt: skip
    assert with_entries_made(config) == config  # as a job of a cluster does, which reads a config that has them


def test_every_entry_is_trained_with_all_seeds_and_the_table_knows_its_groups():
    runs = runs_of_grids(median_scale.grids(CONFIG))
    assert len(runs) == 10 * 3
    entries = median_scale.own(CONFIG)["entries"]
    assert median_scale.own(CONFIG)["fit"] == 0.9  # that of statement E12
    assert {run.optimizer for run in runs} == set(entries)
    assert entries["m3_batch60_rate0"] == {"method": "m3", "batch_size": 60, "rate": 0.5, "group_size": 20}
    assert {name: entries[f"{name}_batch60_rate0"]["group_size"] for name in ("sgd", "clipped")} == {
        "sgd": 60, "clipped": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"labels": "clean"}, r"^median_scale.labels: found 'clean', a label set of fraction 0, expected one that is"),
        (
            {"labels": "random"},
            r"^median_scale.labels: found 'random', a label set of fraction 1, expected one that is",
        ),
        ({"reference_optimizer": "m5"}, r"^median_scale.reference_optimizer: found 'm5', expected one of .* \(sgd, m3"),
        ({"seeds": [100]}, r"^median_scale.tuning_seeds: found 100, which is one of seeds too"),
        ({"batches": SECTION["batches"][:1] * 2}, r"^median_scale.batches: found batch sizes \[3, 3\], expected each"),
        ({"batches": [{"batch_size": 3, "updates": 1, "without": ["sgd"]}]}, r"batches.0.without: found 'sgd'"),
    ],
)
def test_what_does_not_fit_together_is_refused(other, message):
    with pytest.raises(UserError, match=message):
        median_scale.check(with_section(**other))


def test_an_optimiser_that_is_no_entry_is_refused_by_its_name():
    with pytest.raises(UserError, match=r"^median_scale.optimizers: found 'm5', expected an entry of optimizers"):
        with_entries_made(with_section(optimizers=["sgd", "m5"]))
