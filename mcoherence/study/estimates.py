"""What a job takes before it runs, roughly: passes of images through the network, memory, and the time it is allowed.

Rules ask for it and the plan adds it up, so both reckon alike. Work is counted in forward passes of one image: a
training update or a measured example costs three of them, an evaluated one costs one.
"""

from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import Any

from mcoherence.optim.methods import METHODS
from mcoherence.study.cutting import cut_of
from mcoherence.study.data_sizes import Size, size_of
from mcoherence.study.network_sizes import PARAMETERS
from mcoherence.study.results import result
from mcoherence.study.runs import Config, Run
from mcoherence.study.segments import checkpoint_steps
from mcoherence.study.settings import model_settings, optimizer_settings, training_of_run
from mcoherence.study.shards import EVALUATED_BATCH, MEASURED_BATCH

OPERATIONAL = True  # no number depends on it; docs/reruns.md

BASE_MB = 2000  # of a process before it has read anything: Python, torch, and torch's libraries for a GPU
FORWARD_AND_BACKWARD = 3  # forward passes, by operations
OWN_NETWORK = 25_000_000  # parameters that a user's own network is taken to have: those of ResNet-50
BATCH_NORM_LAYERS = 53  # that a network is taken to have: those of ResNet-50
WITHOUT_BACKWARD = 0.05  # of the activations that a backward pass needs: about those of the largest layer alone
LEAST_MINUTES = 120  # that a job may take, whatever its work
VALUES_IN_20_MINUTES = 2e11  # of images, passed forward: ImageNet has as many


def training_passes(config: Config, run: Run, updates: int) -> float:
    """Forward passes of one image that so many updates of a run cost."""
    optimizer = optimizer_settings(config, run.optimizer, run.model)
    method = METHODS[optimizer["method"]]
    examples = updates * training_of_run(config, run)["batch_size"] * method.mini_batches(optimizer)
    return float(FORWARD_AND_BACKWARD * examples * method.cost.get(_kind(config, run), 1))


def result_passes(config: Config, run: Run, name: str, checkpoints: int | None = None, shards: int = 1) -> float:
    """Forward passes of one image that a result costs.

    Args:
        config: of the study.
        run: the run.
        name: of the result.
        checkpoints: that are evaluated or measured; None for all.
        shards: number of equal parts of the examples, of which one is taken.
    """
    kind = result(name)
    steps = len(checkpoint_steps(training_of_run(config, run))) if checkpoints is None else checkpoints
    examples = kind.examples(config, run, _size(config, run)) / shards
    passes = (FORWARD_AND_BACKWARD if kind.groups(config) else 1) * examples
    settings = kind.settings(config, run)
    if settings.get("batch_norm") == "sample":  # every shard takes the statistics of the whole training sample
        there = _size(config, run).train
        passes += min(settings.get("sample_size", there), there) * _passes_for_statistics(config, run)
    return float(steps * passes)


def _passes_for_statistics(config: Config, run: Run) -> float:
    """Forward passes that setting the statistics of all batch norm layers takes: one each, to halfway on average."""
    model = config["models"][run.model]
    layers = len(model["channels"]) if model["architecture"] == "cnn" else BATCH_NORM_LAYERS
    return layers / 2


def minutes(config: Config, run: Run, passes: float) -> int:
    """Minutes that a job of so many forward passes of one image of the run's data set may take."""
    return LEAST_MINUTES + int(20 * passes * _size(config, run).pixels / VALUES_IN_20_MINUTES)


def training_bytes(config: Config, run: Run) -> float:
    """Rough bytes that training takes beside its images, on each of its GPUs if there are any."""
    optimizer = optimizer_settings(config, run.optimizer, run.model)
    network, batch_size = network_bytes(config, run), training_of_run(config, run)["batch_size"]
    method = METHODS[optimizer["method"]]
    tensors = 3 + method.kept + method.held(optimizer, batch_size)  # 3: the weights, their gradient, a momentum
    return tensors * network + method.chunk_bytes + _activation_bytes(config, run, batch_size) / _ranks(config)


def result_bytes(config: Config, run: Run, name: str) -> float:
    """Rough bytes that a job of a result takes beside its images, on its GPU if there is one."""
    network, groups = network_bytes(config, run), result(name).groups(config)
    if not groups:
        return network + WITHOUT_BACKWARD * _activation_bytes(config, run, EVALUATED_BATCH)
    # the sums of the groups, those of a batch, and a copy of them
    return _wide(config) * (2.0 * groups * network + _activation_bytes(config, run, MEASURED_BATCH))


def temporary_bytes(config: Config, run: Run, name: str) -> float:
    """Bytes that the sums of one block of checkpoints take in all of its shards, until they are added up."""
    cut = cut_of(config, run, name)
    if not cut.summed or cut.shards == 1:
        return 0.0
    steps = checkpoint_steps(training_of_run(config, run))
    longest = max(sum(first <= step <= last for step in steps) for first, last in cut.blocks)
    return longest * cut.shards * result(name).groups(config) * _wide(config) * network_bytes(config, run)


def job_mb(config: Config, run: Run, on_device: float, gpu: bool, bytes_per_value: int = 4) -> int:
    """Memory in MB of a job that puts images of the run's data set through its network.

    Args:
        config: of the study.
        run: the run.
        on_device: bytes that it takes where it computes, beside images.
        gpu: whether that is a GPU, and not the memory that is asked for here.
        bytes_per_value: of an image's values once they are read.
    """
    images = min(2 * config["operational"]["images_memory_mb"], _size(config, run).bytes * bytes_per_value // 10**6)
    return BASE_MB * _ranks(config) + int(images) + (0 if gpu else int(on_device / 1e6))


def table_mb(config: Config, run: Run) -> int:
    """Memory in MB for one run's loss and prediction of every example and checkpoint, and what is made of them."""
    size, steps = _size(config, run), len(checkpoint_steps(training_of_run(config, run)))
    return BASE_MB + 16 * steps * (size.train + size.test) // 10**6


def network_bytes(config: Config, run: Run) -> float:
    """Bytes of the weights of a run's network, in float32."""
    return 4.0 * parameters_of(model_settings(config, run.model), _size(config, run))


def parameters_of(model: Mapping[str, Any], size: Size) -> int:
    """Number of parameters of a network for images of this size, without building it.

    Exact for `mlp`, `deep_mlp`, `cnn` and `cnn_group_norm`; for a classifier of torchvision with 1,000 classes; a guess
    for a user's own network.
    """
    architecture = model["architecture"]
    if architecture == "mlp":
        return _linear([size.pixels, *model["hidden"], size.classes])
    if architecture == "deep_mlp":
        width, depth = model["width"], model["depth"]
        norms = depth * width if model.get("batch_norm", False) else 0  # a weight more a unit; its bias is the layer's
        return _linear([size.pixels, *[width] * depth, size.classes]) + norms
    if architecture in ("cnn", "cnn_group_norm"):
        channels, side = [size.shape[0], *model["channels"]], (size.shape[1], size.shape[2])
        after_kernels = (2 if model.get("batch_norm", True) else 1) * sum(channels[1:])  # batch norm, or biases
        kernels = sum(9 * before * after for before, after in pairwise(channels)) + after_kernels
        halvings = 2 ** len(model["channels"])
        features = channels[-1] * prod(max(one // halvings, 1) for one in side)
        return int(kernels) + _linear([features, model["hidden"], size.classes])
    return PARAMETERS.get(architecture, OWN_NETWORK)


def _linear(widths: list[int]) -> int:
    return sum(before * after + after for before, after in pairwise(widths))


def _size(config: Config, run: Run) -> Size:
    return size_of(config["datasets"][run.dataset])


def _kind(config: Config, run: Run) -> str:
    return "mlp" if config["models"][run.model]["architecture"] in ("mlp", "deep_mlp") else "convolutional"


def _activation_bytes(config: Config, run: Run, batch_size: int) -> float:
    """What a float32 backward pass keeps of a batch; an MLP's are not counted, they are small."""
    return _size(config, run).activation_bytes(batch_size) if _kind(config, run) == "convolutional" else 0.0


def _wide(config: Config) -> int:
    """Bytes of a measured value, in those of float32."""
    return 2 if config["measurement"].get("precision", "float64") == "float64" else 1


def _ranks(config: Config) -> int:
    return int(config.get("operational", {}).get("ranks", 1))
