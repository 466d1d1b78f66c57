"""What a job takes before it runs, roughly: passes of images through the network, memory, and the time it is allowed.

Rules ask for it and the plan adds it up, so both reckon alike. Work is counted in forward passes of one image: a
training update or a measured example costs three of them, an evaluated one costs one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, prod
from typing import Any, Literal

from mcoherence.data.read_ahead import BYTES as READ_AHEAD
from mcoherence.optim.methods import METHODS
from mcoherence.study.cutting import cut_of
from mcoherence.study.data_sizes import Size, size_of
from mcoherence.study.growing import amount
from mcoherence.study.network_sizes import ACTIVATIONS, LARGE_SIDE, PARAMETERS
from mcoherence.study.results import Result, batch_norm_of, result, steps_of_result
from mcoherence.study.runs import Config, Run
from mcoherence.study.settings import model_settings, optimizer_settings, training_of_run
from mcoherence.study.shards import EVALUATED_BATCH, MEASURED_BATCH, batch_within

OPERATIONAL = True  # no number depends on it; docs/reruns.md

BASE_MB = 2000  # of a process before it has read anything: Python, torch, and torch's libraries for a GPU
CHECK_MB = 4000  # of the check of a network, at least
# Of the weights of a user's own network in its check, in float64: two of it, a gradient, and those of single examples.
CHECKED_COPIES, CHECKED_EXAMPLES = 8, 4
FORWARD_AND_BACKWARD = 3  # forward passes, by operations
OWN_NETWORK = 25_000_000  # parameters that a user's own network is taken to have: those of ResNet-50
WITHOUT_BACKWARD = 0.15  # of what a user's own network keeps of a pass; that of ResNet-50 is 0.13
BATCH_NORM_LAYERS = 53  # that a network is taken to have: those of ResNet-50
LEAST_MINUTES = 120  # that a job may take, whatever its work
VALUES_IN_20_MINUTES = 2e11  # of images, passed forward: ImageNet has as many
BYTES = {"bfloat16": 2, "float32": 4, "float64": 8}

Way = Literal["train", "measure", "evaluate"]  # forward and backward; the same in eval mode; forward alone


@dataclass(frozen=True)
class Sizes:
    """How large networks are, in values; the plan counts them, and rules, which must be read at once, know them about.

    parameters: (settings of a network, size of its data) -> its parameters.
    example: (the same, way, precision) -> bytes that one example of a batch takes while it passes through.
    """

    parameters: Callable[[Mapping[str, Any], Size], float]
    example: Callable[[Mapping[str, Any], Size, Way, str], float]


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
    steps = len(steps_of_result(config, run, name)) if checkpoints is None else checkpoints
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


def training_bytes(config: Config, run: Run, sizes: Sizes | None = None) -> float:
    """Bytes that training takes beside its images, on each of its GPUs if there are any.

    Weights and their gradient, what the optimiser keeps and holds, and what a pass keeps of one group of a mini-batch.

    Args:
        config: of the study.
        run: the run.
        sizes: of networks; None for what is about right.
    """
    sizes = sizes or ABOUT
    optimizer = optimizer_settings(config, run.optimizer, run.model)
    training, method, ranks = training_of_run(config, run), METHODS[optimizer["method"]], _ranks(config)
    precision, batch_size = training.get("precision", "float32"), training["batch_size"]
    model, size = model_settings(config, run.model), _size(config, run)
    tensors = 2 + method.kept_gradients(optimizer) + method.held(optimizer, batch_size) + (ranks > 1)  # DDP's buckets
    weight = BYTES["float64"] if precision == "float64" else BYTES["float32"]
    copies = BYTES["bfloat16"] if precision == "bfloat16" else 0  # of the weights, which autocast makes
    network: float = (tensors * weight + copies) * sizes.parameters(model, size)
    examples = ceil(batch_size / method.groups(optimizer) / ranks)
    kept: float = examples * sizes.example(model, size, "train", precision)
    return network + method.chunk_bytes + kept


def check_mb(config: Config, dataset: str, model: str) -> int:
    """Memory in MB of a job that checks a network: of a user's own it makes copies, and gradients of a few examples.

    Nobody knows a user's own before it is built. Who has given its training memory in
    `operational.training_resources` knows, so that its check has as much.
    """
    settings, size = config["models"][model], size_of(config["datasets"][dataset])
    if ":" not in settings["architecture"]:
        return max(CHECK_MB, BASE_MB + ceil(BYTES["float32"] * ABOUT.parameters(settings, size) / 10**6))
    weights = CHECKED_COPIES * BYTES["float64"] * ABOUT.parameters(settings, size)
    passed = CHECKED_EXAMPLES * ABOUT.example(settings, size, "measure", "float64")
    given = config.get("operational", {}).get("training_resources", {}).get("mem_mb", 0)
    return max(CHECK_MB, BASE_MB + ceil((weights + passed) / 10**6), amount("mem_mb", given))


def result_bytes(config: Config, run: Run, name: str, gpu: bool, sizes: Sizes | None = None) -> float:
    """Bytes that a job of a result takes beside its images, on its GPU if there is one.

    Args:
        config: of the study.
        run: the run.
        name: of the result.
        gpu: whether it computes on one.
        sizes: of networks; None for what is about right.
    """
    sizes = sizes or ABOUT
    kind, model, size = result(name), model_settings(config, run.model), _size(config, run)
    batch = result_batch(config, run, name, gpu, sizes)
    way, precision = _passes_of(config, run, kind)
    # The weights; measured, the sums of the groups and those of a batch.
    tensors = 2 + kind.groups(config) if kind.groups(config) else 1
    own = tensors * BYTES[precision] * sizes.parameters(model, size)
    return own + batch * kind.copies * sizes.example(model, size, way, precision)


def result_batch(config: Config, run: Run, name: str, gpu: bool, sizes: Sizes | None = None) -> int:
    """Examples that a job of a result passes through the network at a time, as it will find itself; arguments as above.

    Of mini-batches, which have a size of their own, that.
    """
    kind, sizes = result(name), sizes or ABOUT
    if kind.command == "measure_confusion":
        return int(training_of_run(config, run)["batch_size"])
    if kind.groups(config) and batch_norm_of(config, run) == "minibatch":
        return int(config["measurement"].get("minibatch_size", 20))
    budget = config.get("operational", {}).get("gpu_batch_mb" if gpu else "cpu_batch_mb")
    way, precision = _passes_of(config, run, kind)
    example = kind.copies * sizes.example(model_settings(config, run.model), _size(config, run), way, precision)
    most = MEASURED_BATCH if kind.groups(config) else EVALUATED_BATCH
    return batch_within(None if budget is None else budget * 10**6, example, most)


def _passes_of(config: Config, run: Run, kind: Result) -> tuple[Way, str]:
    """What passes a result makes, and in which precision: evaluation in that of the weights."""
    if kind.groups(config):
        return "measure", config["measurement"].get("precision", "float64")
    trained = training_of_run(config, run).get("precision", "float32")
    return "evaluate", trained if trained == "float64" else "float32"


def temporary_bytes(config: Config, run: Run, name: str) -> float:
    """Bytes that the sums of one block of checkpoints take in all of its shards, until they are added up."""
    cut = cut_of(config, run, name)
    if not cut.summed or cut.shards == 1:
        return 0.0
    steps = steps_of_result(config, run, name)
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
    streamed = _size(config, run).bytes > config["operational"]["images_memory_mb"] * 10**6
    ahead = readers(config) * READ_AHEAD // 10**6 if streamed else 0
    images = ahead + min(
        2 * config["operational"]["images_memory_mb"], _size(config, run).bytes * bytes_per_value // 10**6
    )
    return BASE_MB * _ranks(config) + int(images) + (0 if gpu else int(on_device / 1e6))


def readers(config: Config) -> int:
    """Processes of a job that read ahead, at most, where images are streamed: one for each rank at least, if any."""
    workers = int(config.get("operational", {}).get("workers", 2))
    return max(workers, _ranks(config)) if workers else 0


def table_mb(config: Config, run: Run) -> int:
    """Memory in MB for one run's loss and prediction of every example and checkpoint, and what is made of them."""
    steps = len(steps_of_result(config, run, "evaluation"))
    return BASE_MB + 16 * steps * result("evaluation").examples(config, run, _size(config, run)) // 10**6


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


def example_bytes_of(model: Mapping[str, Any], size: Size, way: Way, precision: str) -> float:
    """Bytes that one example of a batch takes while it passes through a network, without building it.

    By hand for networks of this project; of torchvision's as was counted, by the number of pixels; a guess for a user's
    own. `mcoherence.models.memory` counts it.
    """
    architecture, width = model["architecture"], BYTES[precision] / BYTES["float32"]
    if architecture in ("mlp", "deep_mlp"):
        hidden = model["hidden"] if architecture == "mlp" else [model["width"]] * model["depth"]
        return (
            4
            * width
            * (size.pixels + 2 * size.classes + 2 * (max(hidden, default=0) if way == "evaluate" else sum(hidden)))
        )
    if architecture in ("cnn", "cnn_group_norm"):
        return width * _example_bytes_of_cnn(model, size, way)
    if architecture not in ACTIVATIONS:
        return size.activation_bytes(1) * width * (WITHOUT_BACKWARD if way == "evaluate" else 1)
    small = model.get("stem") == "small" or (model.get("stem", "auto") == "auto" and min(size.shape[1:]) < LARGE_SIDE)
    large, little = ACTIVATIONS[architecture]
    side, kept, passed = little if small and little else large
    return width * size.shape[1] * size.shape[2] / side**2 * (passed if way == "evaluate" else kept)


def _example_bytes_of_cnn(model: Mapping[str, Any], size: Size, way: Way) -> float:
    """Of blocks of convolution, norm, ReLU and pooling, in float32."""
    area, largest, kept = float(size.shape[1] * size.shape[2]), 0.0, 4.0 * size.pixels
    # A convolution's output where a norm needs it, ReLU's, and a quarter of that with its indices.
    values = 11 if model.get("batch_norm", True) else 7
    for channels in model["channels"]:
        kept += values * channels * area
        largest = max(largest, 2 * 4 * channels * area)
        area /= 4
    return 4 * size.pixels + largest if way == "evaluate" else kept


def _linear(widths: list[int]) -> int:
    return sum(before * after + after for before, after in pairwise(widths))


def _size(config: Config, run: Run) -> Size:
    return size_of(config["datasets"][run.dataset])


def _kind(config: Config, run: Run) -> str:
    return "mlp" if config["models"][run.model]["architecture"] in ("mlp", "deep_mlp") else "convolutional"


def _wide(config: Config) -> int:
    """Bytes of a measured value, in those of float32."""
    return 2 if config["measurement"].get("precision", "float64") == "float64" else 1


def _ranks(config: Config) -> int:
    return int(config.get("operational", {}).get("ranks", 1))


ABOUT = Sizes(parameters_of, example_bytes_of)
