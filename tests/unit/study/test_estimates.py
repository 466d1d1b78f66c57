"""What a job is reckoned to take: worked by hand, and numbers of parameters against the networks themselves."""

from dataclasses import replace
from pathlib import Path

import pytest
import torchvision.models
import yaml

from mcoherence.models.build import outline
from mcoherence.study.data_sizes import Size
from mcoherence.study.estimates import (
    BASE_MB,
    LEAST_MINUTES,
    check_mb,
    job_mb,
    minutes,
    parameters_of,
    result_batch,
    result_bytes,
    result_passes,
    training_passes,
)
from mcoherence.study.network_sizes import PARAMETERS
from mcoherence.study.runs import Run

CONFIG = yaml.safe_load((Path(__file__).parents[2] / "digits_study.yaml").read_text())
RUN = Run("digits", "mlp", "clean", "sgd", "full", 0)
MLP = 64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ({"architecture": "mlp", "hidden": []}, Size(1, 1, (1, 8, 8), 10)),
        ({"architecture": "mlp", "hidden": [30, 20]}, Size(1, 1, (3, 5, 4), 7)),
        ({"architecture": "cnn", "channels": [12, 24], "hidden": 128}, Size(1, 1, (1, 8, 8), 10)),
        ({"architecture": "cnn", "channels": [4], "hidden": 9, "batch_norm": False}, Size(1, 1, (3, 15, 9), 3)),
        ({"architecture": "resnet18"}, Size(1, 1, (3, 224, 224), 1000)),
    ],
)
def test_parameters_are_counted_without_building_the_network(model, size):
    built = outline(model, size.shape, size.classes)
    assert parameters_of(model, size) == sum(p.numel() for p in built.parameters())


def test_every_classifier_of_torchvision_has_the_number_that_it_states():
    stated = {
        name: next(iter(torchvision.models.get_model_weights(name))).meta["num_params"]
        for name in torchvision.models.list_models(module=torchvision.models)
    }
    assert stated == PARAMETERS


def test_an_update_costs_three_passes_of_its_examples_and_an_evaluation_one():
    assert training_passes(CONFIG, RUN, 10) == 3 * 10 * 60
    assert result_passes(CONFIG, RUN, "evaluation", checkpoints=2) == 2 * 1797
    of_sgd = 3 * 2 * (360 + 360 + 180)  # the training sample with redrawn labels too
    assert result_passes(CONFIG, RUN, "coherence", checkpoints=2, shards=3) == of_sgd / 3
    assert result_passes(CONFIG, replace(RUN, optimizer="m3"), "coherence", checkpoints=2) == 3 * 2 * (360 + 180)
    assert result_passes(CONFIG, RUN, "coherence_m100", checkpoints=2) == 3 * 2 * (100 + 180)


def test_statistics_of_the_sample_cost_half_a_pass_of_it_for_every_batch_norm_layer():
    config = CONFIG | {"measurement": CONFIG["measurement"] | {"batch_norm": "sample"}}
    assert result_passes(config, RUN, "coherence", checkpoints=1) == 3 * 900  # an MLP has none
    assert result_passes(config, replace(RUN, model="cnn"), "coherence", checkpoints=1) == 3 * 900 + 360


def test_a_batch_is_what_its_memory_has_room_for():
    example = 8 * (64 + 2 * 10 + 2 * 512)  # of coherence, in float64
    assert result_batch(CONFIG, RUN, "coherence", gpu=False) == 256
    for budget, expected in ((256 * example, 256), (256 * example - 10**6, 128), (10**6, 64)):
        config = CONFIG | {"operational": {"cpu_batch_mb": budget / 10**6, "gpu_batch_mb": 10**6}}
        assert result_batch(config, RUN, "coherence", gpu=False) == expected
        assert result_batch(config, RUN, "coherence", gpu=True) == 256
    assert result_batch(CONFIG, RUN, "evaluation", gpu=False) == 1024
    small = CONFIG | {"operational": {"gpu_batch_mb": 1, "cpu_batch_mb": 10**6}}
    assert result_batch(small, RUN, "evaluation", gpu=True) == 256  # of 4 * (64 + 2 * 10 + 2 * 256) bytes
    assert result_batch(small, RUN, "evaluation", gpu=False) == 1024


def test_time_and_memory_of_a_job():
    config = CONFIG | {"operational": {"images_memory_mb": 2000, "ranks": 1}}
    assert minutes(config, RUN, 1e11 / 64) == LEAST_MINUTES + 10
    # The weights, the sums of a batch, and those of four groups, in float64; and of 256 examples pixels, hidden layers,
    # logits and losses.
    of_batch = 256 * 8 * (64 + 2 * 10 + 2 * 512)
    assert result_bytes(config, RUN, "coherence", gpu=False) == (1 + 1 + 4) * 8 * MLP + of_batch
    assert job_mb(config, RUN, 5e9, gpu=False) == BASE_MB + 5000  # and 1,797 images of 64 values, less than a MB
    assert job_mb(config, RUN, 5e9, gpu=True) == BASE_MB


def test_a_check_has_memory_for_the_network_that_it_builds():
    wide = {"architecture": "mlp", "hidden": [40_000, 40_000]}
    own = {"architecture": "nets.mine:large"}
    config = {**CONFIG, "models": {**CONFIG["models"], "wide": wide, "own": own}}
    assert check_mb(config, "digits", "mlp") == 4000
    weights = 64 * 40_000 + 40_000 + 40_000**2 + 40_000 + 40_000 * 10 + 10
    assert check_mb(config, "digits", "wide") == BASE_MB + -(-4 * weights // 10**6) > 8000
    assert check_mb(config, "digits", "own") == 4000  # as large as ResNet-50, say
    known = {**config, "operational": {"training_resources": {"mem_mb": "30000"}}}
    assert check_mb(known, "digits", "own") == 30000
    assert check_mb(known, "digits", "mlp") == 4000
