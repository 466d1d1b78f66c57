"""How fast jobs work, in operations per second, and where that number comes from.

From the study's own earlier jobs where there are any, else from benchmarks of the same kind of device, else from what
the network computes and moves (`audit.roofline`). Operations are counted as torch counts them, on a network without
weights.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mcoherence.audit.job_records import read_record
from mcoherence.audit.roofline import PEAKS, training_seconds
from mcoherence.files.canonical import canonical_json
from mcoherence.models.build import outline
from mcoherence.study.cutting import Cut, cut_of
from mcoherence.study.data_sizes import Size
from mcoherence.study.results import ON_OTHER_SAMPLE, result
from mcoherence.study.runs import Config, Run, results_folder
from mcoherence.study.segments import segments
from mcoherence.study.settings import training_of_run

# On a GPU an example is measured in so many plain passes of float32, and float64 takes twice as long: the former of
# ResNet-50 on an H200 (benchmarks/RESULTS.md), the latter stated, for GPUs made for it; others are much slower.
MEASURED_PASSES, IN_FLOAT64 = 1.7, 2.0
START_SECONDS = 5  # of a job, before it works
COPY_SECONDS = 0.1  # the same of a job that is a copy of a process that has imported torch (benchmarks/RESULTS.md)
# Of one pass of an update in the training loop on a processor core, beside its operations: calls, which is all that
# networks of a few thousand weights take. 0.5 to 0.8 ms for an MLP of 128 at batches of 3 to 60, 1.7 for a small CNN.
PASS_SECONDS = 1e-3
# What the benchmarks under benchmarks/ measured: the networks by their names there, shape of an image.
BENCHMARKED: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "resnet18": ({"architecture": "resnet18"}, (3, 32, 32)),
    "vgg13_bn": ({"architecture": "vgg13_bn"}, (3, 32, 32)),
    "mlp": ({"architecture": "mlp", "hidden": [256, 256, 256]}, (1, 28, 28)),
}
BENCHMARK_THREADS = 2


@dataclass(frozen=True)
class Network:
    """A network for one data set: parameters, bytes of a checkpoint, operations of a forward pass of one image."""

    parameters: int
    bytes: int
    flops: float


@dataclass(frozen=True)
class Rate:
    """Operations per second of one job on one GPU or one core, and where the number comes from."""

    flops_per_s: float
    source: str
    of_this_study: bool = False  # from its own jobs, so that all that they take besides is in it


def network_of(model: Mapping[str, Any], size: Size) -> Network:
    """The network of these settings for images of this size; nothing is computed and no weights are made."""
    return _network(canonical_json(dict(model)), size)


@cache
def _network(model: str, size: Size) -> Network:
    network = outline(json.loads(model), size.shape, size.classes).eval()
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *size.shape, device=device))
    state = network.state_dict().values()
    return Network(
        sum(p.numel() for p in network.parameters()),
        sum(value.numel() * value.element_size() for value in state),
        float(counter.get_total_flops()),
    )


def rate_of_earlier_jobs(config: Config, jobs: Iterable[tuple[Run, str, float]]) -> Rate | None:
    """The rate of those of the study's own jobs whose benchmark files are there; None without any.

    Args:
        config: of the study.
        jobs: run, what is done to it ("train" or the name of a result) and its work in operations.
    """
    results = Path(results_folder(config))
    folder = results / "benchmarks"
    done, seconds, number = 0.0, 0.0, 0
    for run, what, work in jobs:
        files = benchmark_files(folder, config, run, what)
        if files:
            records = [read_record(results, path.relative_to(folder).with_suffix("")) for path in files]
            seconds += sum(one.seconds - (COPY_SECONDS if one.is_copy else START_SECONDS) for one in records)
            done += work
            number += len(files)
    return Rate(done / seconds, f"{number} earlier jobs of this study", True) if seconds > 0 else None


def benchmark_files(folder: Path, config: Config, run: Run, what: str) -> list[Path]:
    """Benchmark files of all jobs that train a run, or make one of its results; none where one of them is missing."""
    name = run.path("").removeprefix("/runs/")
    if what == "train":
        found = [path for rule in folder.glob("train*") if (path := rule / f"{name}.tsv").is_file()]
        return found if len(found) == len(segments(training_of_run(config, run))) else []
    kind, cut = result(what), cut_of(config, run, what)
    if cut.whole:
        other_sample = f"/{what.removeprefix('coherence_')}" if kind.stage == ON_OTHER_SAMPLE else ""
        file = folder / kind.stage / f"{name}{other_sample}.tsv"
        return [file] if file.is_file() else []
    return _of_parts(folder / f"{kind.command}_part" / name / what, cut)


def _of_parts(folder: Path, cut: Cut) -> list[Path]:
    found = sorted(folder.glob("*/*.tsv"))
    return found if len(found) == cut.parts else []


def rate_elsewhere(
    model: Mapping[str, Any], size: Size, device: str, root: Path, measured_in: str | None = None
) -> Rate:
    """The rate by benchmarks of the device where they have a like network, else by what the network computes and moves.

    Where a benchmark has other convolutional networks alone, the slowest of them says how far the device is from what
    is stated of it.

    Args:
        model: settings of the network.
        size: of its data.
        device: "cuda", "mps" or "cpu".
        root: folder with benchmarks/.
        measured_in: precision in which gradients of single examples are measured; None where none are.
    """
    benchmarked = _benchmarked_rates("plain" if measured_in is None else "ours", device, root)
    architecture = str(model["architecture"])
    like = "mlp" if architecture == "deep_mlp" else architecture
    if like in benchmarked:
        return Rate(benchmarked[like], f"benchmarks/ ({like}, {device})")
    stated = stated_rate(model, size, device)
    if like != "mlp" and (known := {name: rate for name, rate in benchmarked.items() if name != "mlp"}):
        nearness = min(rate / stated_rate(*_benchmarked(name), device) for name, rate in known.items())
        return Rate(stated * nearness, f"its operations and bytes, by benchmarks/ ({', '.join(known)}, {device})")
    if measured_in is not None and device != "cpu":
        stated /= MEASURED_PASSES * (IN_FLOAT64 if measured_in == "float64" else 1)
    return Rate(stated, f"its operations and bytes, {stated:.0e} operations/s ({device})")


def stated_rate(model: Mapping[str, Any], size: Size, device: str) -> float:
    """Operations per second of training a network on a device, in float32, by the roofline of what is stated of it."""
    seconds = training_seconds(model, size, PEAKS[device])
    return 3 * network_of(model, size).flops / seconds


def _benchmarked(name: str) -> tuple[dict[str, Any], Size]:
    """A network of the benchmarks, and the size of its data."""
    settings, shape = BENCHMARKED[name]
    return settings, Size(0, 0, shape, 10)


def _benchmarked_rates(method: str, device: str, root: Path) -> dict[str, float]:
    """Architecture -> operations per second of one GPU or core, from the rows of benchmarks/*.json for this device."""
    rates = {}
    for path in sorted((root / "benchmarks").glob("extraction*.json")):
        for row in json.loads(path.read_text()):
            if row["device"] == device and row["method"] == method and row["model"] in BENCHMARKED:
                flops = 3 * network_of(*_benchmarked(row["model"])).flops * row["batch"]
                rates[row["model"]] = flops / row["seconds"] / (BENCHMARK_THREADS if device == "cpu" else 1)
    return rates
