"""What is taken of a checkpoint: losses and predictions, and gradient statistics, against values calculated here."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mcoherence.data.preparation import prepare_images
from mcoherence.data.sources import open_source
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.measuring.along_run import measure_run
from mcoherence.measuring.by_examples import group_batches, measure
from mcoherence.measuring.evaluation import evaluate, evaluate_run
from mcoherence.measuring.job import MeasuringJob
from mcoherence.measuring.measurement import Measurement
from mcoherence.measuring.record import record_of, stacked
from mcoherence.measuring.samples import DrawnExamples, Sample
from mcoherence.models import NetworkSettings, build_model, save_checkpoint
from mcoherence.models.memory import example_bytes
from mcoherence.study.result_names import CORRUPT, GROUPS, HELDOUT, PRISTINE


@pytest.fixture
def inputs():
    return torch.randn(20, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def targets():
    return torch.arange(20) % 3


def network(seed):
    torch.manual_seed(seed)
    return build_model({"architecture": "mlp", "hidden": [5]}, (1, 2, 2), 3).double()


def test_evaluation_is_cross_entropy_and_argmax_per_example(inputs, targets):
    model = network(0)
    evaluation = evaluate(model, inputs.split([3, 11, 6]), targets)
    logits = model(inputs).detach().numpy()
    logsumexp = np.log(np.exp(logits).sum(axis=1))
    assert evaluation.loss == pytest.approx(logsumexp - logits[np.arange(20), targets], rel=1e-6)
    assert evaluation.prediction.tolist() == logits.argmax(axis=1).tolist()
    assert (evaluation.loss.dtype, evaluation.prediction.dtype) == (np.float32, np.int32)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_run_is_evaluated_in_the_precision_that_it_is_trained_in(precision, tmp_path):
    images, checkpoint = tmp_path / "images.h5", tmp_path / "step0.safetensors"
    digits = open_source({"source": "digits", "train_size": 20, "test_size": 10, "seed": 0}, tmp_path, False)
    prepare_images(images, digits, {})
    settings = {"architecture": "mlp", "hidden": [5]}
    model = build_model(settings, (1, 8, 8), 10).to(precision)
    save_checkpoint(checkpoint, model, NetworkSettings(settings, (1, 8, 8), 10), {"step": 0, "epoch": 0.0, "run": {}})
    job = MeasuringJob(images, [checkpoint], torch.device("cpu"))
    datasets, _ = evaluate_run(job, {"train": np.zeros(20, dtype=np.int64)})
    (pixels,) = job.load("train", np.arange(20), precision).batches([(0, np.arange(20))])
    loss = -torch.log_softmax(model.eval()(pixels), dim=1)[:, 0]
    assert datasets["train/loss"][0] == pytest.approx(loss.detach().numpy(), rel=1e-6)


def test_a_batch_that_has_no_room_is_halved_and_the_file_says_so(tmp_path):
    images, checkpoint = tmp_path / "images.h5", tmp_path / "step0.safetensors"
    digits = open_source({"source": "digits", "train_size": 300, "test_size": 30, "seed": 0}, tmp_path, False)
    prepare_images(images, digits, {})
    settings = {"architecture": "mlp", "hidden": [5]}
    network = NetworkSettings(settings, (1, 8, 8), 10)
    model = build_model(settings, (1, 8, 8), 10).double()
    save_checkpoint(checkpoint, model, network, {"step": 0, "epoch": 0.0, "run": {}})
    job = MeasuringJob(images, [checkpoint], torch.device("cpu"))
    kept, passed = (example_bytes(settings, (1, 8, 8), 10, way, torch.float64) for way in ("measure", "evaluate"))
    small = replace(job, batch_bytes=int(64 * max(kept, passed)))
    assert (job.measured_batch(torch.float64), job.evaluated_batch(torch.float64)) == (256, 1024)

    labels = {"train": np.arange(300) % 10}
    (at_once, said), (in_batches, said_of_small) = evaluate_run(job, labels), evaluate_run(small, labels)
    assert said["examples_at_a_time"] == [1024]
    assert said_of_small["examples_at_a_time"] == [small.evaluated_batch(torch.float64)]
    assert small.evaluated_batch(torch.float64) < 300
    assert at_once["train/loss"] == pytest.approx(in_batches["train/loss"], rel=1e-6)

    examples = [DrawnExamples("train", Sample(np.arange(300), np.zeros(300, dtype=np.int64)), labels["train"])]
    measurement = Measurement("coherence", examples, GROUPS, "float64", tf32=False)
    (at_once, said), (in_batches, said_of_small) = measure_run(job, measurement), measure_run(small, measurement)
    assert said["examples_at_a_time"] == [256]
    assert said_of_small["examples_at_a_time"] == [small.measured_batch(torch.float64)]
    assert small.measured_batch(torch.float64) < 256
    assert at_once["m_coherence_model"][0, 0] == pytest.approx(in_batches["m_coherence_model"][0, 0], rel=1e-12)


@pytest.mark.parametrize("tf32", [False, True])
def test_a_run_is_evaluated_without_tf32_unless_it_is_asked_for(tf32, tmp_path):
    images, checkpoint = tmp_path / "images.h5", tmp_path / "step0.safetensors"
    digits = open_source({"source": "digits", "train_size": 20, "test_size": 10, "seed": 0}, tmp_path, False)
    prepare_images(images, digits, {})
    settings = {"architecture": "mlp", "hidden": [5]}
    network = NetworkSettings(settings, (1, 8, 8), 10)
    save_checkpoint(checkpoint, build_model(settings, (1, 8, 8), 10), network, {"step": 0, "epoch": 0.0, "run": {}})
    seen = set()
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda *_: seen.add(torch.backends.cuda.matmul.fp32_precision)
    )
    try:
        job = MeasuringJob(images, [checkpoint], torch.device("cpu"))
        evaluate_run(job, {"train": np.zeros(20, dtype=np.int64)}, tf32)
    finally:
        hook.remove()
    assert seen == {"tf32" if tf32 else "ieee"}


def test_a_record_holds_the_statistics_of_every_checkpoint(inputs, targets):
    groups = np.array([PRISTINE] * 8 + [HELDOUT] * 12)
    models = [network(seed) for seed in (0, 9)]
    images = SimpleNamespace(batches=lambda schedule: (inputs[torch.from_numpy(index)] for _, index in schedule))
    record = stacked([record_of(measure(model, group_batches(images, targets, groups))) for model in models])

    assert record.layers == ("hidden1", "output")
    assert record.parameter_layer.tolist() == [0, 0, 1, 1]
    assert record.n.tolist() == [[8, 0, 12]] * 2
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    for k, model in enumerate(models):
        rows = per_example_gradients(model, loss, inputs[8:], targets[8:])
        flat = {name: value.flatten(1) for name, value in rows.items()}
        layer = torch.cat([flat["output.weight"], flat["output.bias"]], dim=1)
        whole = torch.cat(list(flat.values()), dim=1)
        for measured, expected in (
            (record.m_coherence_by_layer()[k, GROUPS.index("heldout"), 1], layer),
            (record.m_coherence_of_model()[k, GROUPS.index("heldout")], whole),
        ):
            assert measured == pytest.approx(
                (expected.sum(0).square().sum() / expected.square().sum()).item(), rel=1e-10
            )
    assert np.isnan(record.m_coherence_of_model()[:, CORRUPT]).all()
