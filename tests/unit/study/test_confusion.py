"""What a config must say for gradient confusion to be measured, and how that is cut into jobs."""

import copy
from pathlib import Path

import pytest

from mcoherence.errors import UserError
from mcoherence.study import checks
from mcoherence.study.config_files import study_config
from mcoherence.study.cutting import cut_of
from mcoherence.study.results import result
from mcoherence.study.runs import Run
from mcoherence.study.settings import table_settings

ROOT = Path(__file__).parents[3]
CONFIG = study_config(ROOT / "config.yaml", [ROOT / "studies/width_depth_digits.yaml"], {}).config
RUN = Run("digits", "both_64_8", "clean", "sgd_for_depth", "full", 0)


def changed(*keys, to):
    config = copy.deepcopy(CONFIG)
    inner = config
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    return config


def test_mini_batches_are_of_the_size_that_the_run_trains_with():
    config = changed("training", "for_models", to={"both_64_8": {"batch_size": 30}})
    config["measurement"] |= {"seed": 5, "precision": "float64"}
    settings = result("confusion").settings(config, RUN)
    assert settings == {"mini_batches": 15, "batch_size": 30, "seed": 5, "precision": "float64"}


def test_what_tells_networks_apart_is_read_in_their_entries():
    structures = table_settings(CONFIG, "confusion")["own"]["structures"]
    assert structures["both_64_8"] == {
        "architecture": "deep_mlp", "width": 64, "depth": 8, "normalised": True, "skip": True,
    }  # fmt: skip
    config = changed("confusion", "models", to=["width_32"])  # an mlp, whose width and depth are those of its list
    assert table_settings(config, "confusion")["own"]["structures"]["width_32"] == {
        "architecture": "mlp", "width": 32, "depth": 2, "normalised": False, "skip": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "to", "message"),
    [
        (
            ("confusion", "mini_batches"),
            16,
            r"^confusion\.mini_batches: found 16 of 60 examples each, expected no example twice and at most the 900",
        ),
        (("confusion", "models"), ["cnn"], r"^confusion\.models: found cnn, whose hidden layers have no one width"),
    ],
)
def test_what_cannot_be_compared_is_refused(keys, to, message):
    with pytest.raises(UserError, match=message) as caught:
        checks.check_references(changed(*keys, to=to))
    assert "\n" not in str(caught.value)


def test_a_mini_batch_is_never_cut_into_shards(monkeypatch):
    monkeypatch.setattr("mcoherence.study.cutting.MEASURED_IN_PARTS", 1)
    config = changed("operational", to={"examples_per_shard": 9, "checkpoints_per_job": 8})
    cut = cut_of(config, RUN, "confusion")
    assert (cut.whole, cut.shards, cut.blocks[0]) == (False, 1, (0, 11))  # 0 to 4, 6, 8, 11: eight checkpoints
    assert cut_of(config, RUN, "coherence").shards > 1
