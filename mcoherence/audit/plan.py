"""What a study will take before it runs: jobs, hours, disk and memory, and where each number comes from.

Work is counted in floating-point operations: a forward pass as torch counts it on a network without weights, a training
update or a measured example three times as much. Hours are work over a rate, which is taken from the study's own
earlier jobs where there are any, else from benchmarks of the same kind of device, else stated.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mcoherence.audit.job_records import read_record
from mcoherence.files.canonical import canonical_json
from mcoherence.measuring.result_names import DIFFICULTY_GROUPS, GROUPS
from mcoherence.measuring.shards import EVALUATED_BATCH, MEASURED_BATCH
from mcoherence.models.build import outline
from mcoherence.optim.methods import METHODS
from mcoherence.study import cutting
from mcoherence.study import settings as study
from mcoherence.study.data_sizes import Size, size_of
from mcoherence.study.runs import (
    Run,
    all_runs,
    contribution_runs,
    difficulty_coherence_runs,
    label_noise_runs,
    makes,
    results_folder,
    sample_size_runs,
    sweep_runs,
)
from mcoherence.study.segments import checkpoint_steps, segments

MEASURING = ("measure_coherence", "measure_sample_size", "measure_contributions", "measure_difficulty_coherence")
STAGES = ("train", "evaluate", *MEASURING)
PASSES = {"train": 3, "evaluate": 1} | dict.fromkeys(MEASURING, 3)  # forward passes, by operations
# Operations per second of one GPU, of one processor core: stated, not measured.
STATED_RATE = {"cuda": 2e13, "mps": 2e12, "cpu": 2e10}
START_SECONDS = 5  # of a job, before it works
COPY_SECONDS = 0.1  # the same of a job that is a copy of a process that has imported torch (benchmarks/RESULTS.md)
# What the benchmarks under benchmarks/ measured: the networks by their names there, shape of an image.
BENCHMARKED: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "resnet18": ({"architecture": "resnet18"}, (3, 32, 32)),
    "vgg13_bn": ({"architecture": "vgg13_bn"}, (3, 32, 32)),
    "mlp": ({"architecture": "mlp", "hidden": [256, 256, 256]}, (1, 28, 28)),
}
BENCHMARK_METHODS = {"train": "plain", "evaluate": "plain"} | dict.fromkeys(MEASURING, "ours")
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


@dataclass(frozen=True)
class Estimate:
    """One stage of a network on a data set: jobs, hours of GPU or core, bytes on disk and in memory, the rate's source.

    Memory is that of the largest job beside its images, on the GPU if there is one.
    """

    stage: str
    dataset: str
    model: str
    jobs: int
    hours: float
    disk: float
    memory: float
    source: str


def network_of(model: Mapping[str, Any], size: Size) -> Network:
    """The network of these settings for images of this size; nothing is computed and no weights are made."""
    return _network(canonical_json(dict(model)), size)


@cache
def _network(model: str, size: Size) -> Network:
    network = outline(json.loads(model), size.shape, size.classes).eval()
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *size.shape, device=device))
    state = network.state_dict().values()
    return Network(
        sum(p.numel() for p in network.parameters()),
        sum(value.numel() * value.element_size() for value in state),
        float(counter.get_total_flops()),
    )


def work_of(config: Mapping[str, Any], run: Run, stage: str) -> float:
    """Operations of one stage of a run, all of its jobs together."""
    size = size_of(config["datasets"][run.dataset])
    training = study.training_of_run(config, run)
    checkpoints = len(checkpoint_steps(training))
    forward = network_of(study.model_settings(config, run.model), size).flops
    if stage == "train":
        optimizer = config["optimizers"][run.optimizer]
        method = METHODS[optimizer["method"]]
        examples = training["updates"] * training["batch_size"] * method.mini_batches(optimizer)
        return float(PASSES[stage] * forward * examples * method.cost.get(_kind(config, run), 1))
    return float(PASSES[stage] * forward * checkpoints * sum(measured_examples(config, run, stage)))


def results_of(config: Mapping[str, Any], stage: str) -> list[str]:
    """Names of the results that a stage makes of one run."""
    if stage == "measure_sample_size":
        return [f"coherence_m{size}" for size in config["sample_size"]["sizes"]]
    return ["evaluation" if stage == "evaluate" else stage.removeprefix("measure_")]


def measured_examples(config: Mapping[str, Any], run: Run, stage: str) -> list[int]:
    """Examples at each checkpoint of a run, for every result of the stage."""
    size = size_of(config["datasets"][run.dataset])
    if stage == "evaluate":
        return [size.train + size.test]
    return [cutting.measured_examples(result, config["measurement"], size) for result in results_of(config, stage)]


def _kind(config: Mapping[str, Any], run: Run) -> str:
    return "mlp" if config["models"][run.model]["architecture"] == "mlp" else "convolutional"


@dataclass(frozen=True)
class Cut:
    """How one result of a run is cut into jobs: if at all; blocks of checkpoints, and the most in one; shards."""

    in_parts: bool
    blocks: int
    checkpoints: int
    shards: int

    @property
    def jobs(self) -> int:
        """Jobs of the result: parts, a sum for each sharded block, and two that put them together."""
        return self.blocks * self.shards + 2 if self.in_parts else 1


def groups_of(config: Mapping[str, Any], stage: str) -> int:
    """Number of groups of examples whose gradient sums a measuring stage keeps."""
    if stage == "measure_contributions":
        return int(2 ** (config["contributions"]["null_worlds"] + 1))
    return len(DIFFICULTY_GROUPS if stage == "measure_difficulty_coherence" else GROUPS)


def cut_of(config: Mapping[str, Any], run: Run, stage: str, examples: int) -> Cut:
    """How the jobs of a stage, of so many examples at each checkpoint of a run, are cut."""
    steps = checkpoint_steps(study.training_of_run(config, run))
    least = cutting.EVALUATED_IN_PARTS if stage == "evaluate" else cutting.MEASURED_IN_PARTS
    if not cutting.in_parts(examples, len(steps), least):
        return Cut(False, 1, len(steps), 1)
    sizes = config.get("operational", {})
    checkpoints = min(sizes.get("checkpoints_per_job", 0) or len(steps), len(steps))
    blocks = len(cutting.blocks(steps, checkpoints))
    return Cut(True, blocks, checkpoints, cutting.shard_count(examples, sizes.get("examples_per_shard", 0)))


def cuts_of(config: Mapping[str, Any], run: Run, stage: str) -> list[Cut]:
    """How each of the files that a stage of a run makes is cut into jobs."""
    return [cut_of(config, run, stage, number) for number in measured_examples(config, run, stage)]


def runs_of(config: Mapping[str, Any], stage: str) -> list[Run]:
    """The runs that have this stage."""
    if stage == "measure_coherence":
        runs = label_noise_runs(config["label_noise"]) if makes(config, "label_noise") else []
        runs += sample_size_runs(config["sample_size"]) if makes(config, "sample_size") else []
        runs += sweep_runs(config["sweep"]) if makes(config, "sweep") else []
        return list(dict.fromkeys(runs))
    if stage == "measure_sample_size":
        return sample_size_runs(config["sample_size"]) if makes(config, "sample_size") else []
    if stage == "measure_contributions":
        return contribution_runs(config)
    if stage == "measure_difficulty_coherence":
        made = makes(config, "difficulty_coherence")
        return difficulty_coherence_runs(config["easy_hard"]) if made else []
    return all_runs(config)


def estimates(config: Mapping[str, Any], device: str, root: Path) -> list[Estimate]:
    """One row per stage, data set and network, in the order of the study.

    Args:
        config: the study's settings with their defaults.
        device: "cuda", "mps" or "cpu", where the jobs will run.
        root: folder with benchmarks/; results are looked for where the study puts them.
    """
    rows = []
    for stage in STAGES:
        groups: dict[tuple[str, str], list[Run]] = {}
        for run in runs_of(config, stage):
            groups.setdefault((run.dataset, run.model), []).append(run)
        for (dataset, model), runs in groups.items():
            rate = rate_of(config, stage, dataset, model, device, root)
            jobs = sum(_jobs(config, run, stage) for run in runs)
            seconds = sum(work_of(config, run, stage) for run in runs) / rate.flops_per_s + START_SECONDS * jobs
            disk = sum(_disk(config, run, stage) for run in runs)
            memory = max(memory_bytes(config, run, stage) for run in runs)
            rows.append(Estimate(stage, dataset, model, jobs, seconds / 3600, disk, memory, rate.source))
    return rows


def rate_of(config: Mapping[str, Any], stage: str, dataset: str, model: str, device: str, root: Path) -> Rate:
    """The rate of a stage: of the network's own earlier jobs, of benchmarks of the device, or stated."""
    own = _rate_of_earlier_jobs(config, stage, dataset, model)
    if own is not None:
        return own
    architecture = study.model_settings(config, model)["architecture"]
    benchmarked = _benchmarked_rates(stage, device, root)
    if architecture in benchmarked:
        return Rate(benchmarked[architecture], f"benchmarks/ ({architecture}, {device})")
    if architecture != "mlp" and (known := [rate for name, rate in benchmarked.items() if name != "mlp"]):
        return Rate(min(known), f"benchmarks/ (slowest convolutional network, {device})")
    return Rate(STATED_RATE[device], f"stated rate, {STATED_RATE[device]:.0e} operations/s ({device})")


def _rate_of_earlier_jobs(config: Mapping[str, Any], stage: str, dataset: str, model: str) -> Rate | None:
    """The rate of the study's own jobs on this data set and network whose benchmark files are there."""
    results = Path(results_folder(config))
    folder = results / "benchmarks"
    work, worked, jobs = 0.0, 0.0, 0
    for run in runs_of(config, stage):
        if (run.dataset, run.model) != (dataset, model):
            continue
        name = run.path("").removeprefix("/runs/")
        files = _benchmark_files(folder, name, config, run, stage)
        if files:
            work += work_of(config, run, stage)
            records = [read_record(results, path.relative_to(folder).with_suffix("")) for path in files]
            worked += sum(one.seconds - (COPY_SECONDS if one.is_copy else START_SECONDS) for one in records)
            jobs += len(files)
    return Rate(work / worked, f"{jobs} earlier jobs of this study") if worked > 0 else None


def _benchmark_files(folder: Path, name: str, config: Mapping[str, Any], run: Run, stage: str) -> list[Path]:
    """Benchmark files of all jobs of a stage of a run that work, or none where one is missing."""
    if stage == "train":
        trained = [path for rule in folder.glob("train*") if (path := rule / f"{name}.tsv").is_file()]
        return trained if len(trained) == _jobs(config, run, stage) else []
    rule = "measure_coherence" if stage == "measure_sample_size" else stage
    found: list[Path] = []
    for result, cut in zip(results_of(config, stage), cuts_of(config, run, stage), strict=True):
        if cut.in_parts:
            parts = sorted((folder / f"{rule}_part" / name / result).glob("*/*.tsv"))
            found += parts if len(parts) == cut.blocks * cut.shards else []
        else:
            size = f"/{result.removeprefix('coherence_')}" if stage == "measure_sample_size" else ""
            file = folder / stage / f"{name}{size}.tsv"
            found += [file] if file.is_file() else []
        if not found:
            return []
    return found


def _benchmarked_rates(stage: str, device: str, root: Path) -> dict[str, float]:
    """Architecture -> operations per second of one GPU or core, from the rows of benchmarks/*.json for this device."""
    rates = {}
    for path in sorted((root / "benchmarks").glob("extraction*.json")):
        for row in json.loads(path.read_text()):
            if row["device"] == device and row["method"] == BENCHMARK_METHODS[stage] and row["model"] in BENCHMARKED:
                settings, shape = BENCHMARKED[row["model"]]
                flops = 3 * network_of(settings, Size(0, 0, shape, 10)).flops * row["batch"]
                rates[row["model"]] = flops / row["seconds"] / (BENCHMARK_THREADS if device == "cpu" else 1)
    return rates


def _jobs(config: Mapping[str, Any], run: Run, stage: str) -> int:
    if stage == "train":
        return len(segments(study.training_of_run(config, run)))
    sharded_blocks = sum(cut.blocks for cut in cuts_of(config, run, stage) if cut.shards > 1 and stage != "evaluate")
    return sum(cut.jobs for cut in cuts_of(config, run, stage)) + sharded_blocks


def _disk(config: Mapping[str, Any], run: Run, stage: str) -> float:
    """Bytes that a stage of a run leaves: checkpoints and end states of segments, or loss and prediction."""
    size = size_of(config["datasets"][run.dataset])
    training = study.training_of_run(config, run)
    checkpoints = len(checkpoint_steps(training))
    if stage == "train":
        optimizer = study.optimizer_settings(config, run.optimizer, run.model)
        kept = METHODS[optimizer["method"]].kept_gradients(optimizer)
        files = checkpoints + (1 + kept) * len(segments(training))
        return files * network_of(study.model_settings(config, run.model), size).bytes
    return checkpoints * 8 * (size.train + size.test) if stage == "evaluate" else 0.0


def memory_bytes(config: Mapping[str, Any], run: Run, stage: str) -> float:
    """Rough bytes that a job of a stage needs beside its images, on each of its GPUs if there are any."""
    size, optimizer = size_of(config["datasets"][run.dataset]), config["optimizers"][run.optimizer]
    network = network_of(study.model_settings(config, run.model), size)
    keeps = _kind(config, run) == "convolutional"
    if stage == "evaluate":  # no layer's output is kept for a backward pass
        return network.bytes + keeps * 0.05 * size.activation_bytes(EVALUATED_BATCH)
    if stage != "train":  # the sums of the groups, those of a batch, and a copy of them
        wide = 2 if config["measurement"].get("precision", "float64") == "float64" else 1
        return wide * (2.0 * groups_of(config, stage) * network.bytes + keeps * size.activation_bytes(MEASURED_BATCH))
    batch_size = study.training_of_run(config, run)["batch_size"]
    method = METHODS[optimizer["method"]]
    weights = 3 + method.kept + method.held(optimizer, batch_size)  # 3: themselves, their gradient, a momentum
    ranks = config.get("operational", {}).get("ranks", 1)
    return float(weights * network.bytes + method.chunk_bytes + keeps * size.activation_bytes(batch_size) / ranks)


def temporary_bytes(config: Mapping[str, Any]) -> float:
    """The most bytes that the sums of one block of checkpoints take in all of its shards, until they are added up."""
    largest = 0.0
    for stage in MEASURING:
        for run in runs_of(config, stage):
            network = network_of(study.model_settings(config, run.model), size_of(config["datasets"][run.dataset]))
            wide = 2 if config["measurement"].get("precision", "float64") == "float64" else 1
            cuts = [cut for cut in cuts_of(config, run, stage) if cut.shards > 1]
            sums = groups_of(config, stage) * wide * 4.0 * network.parameters
            largest = max([largest, *(cut.checkpoints * cut.shards * sums for cut in cuts)])
    return largest


def describe(config: Mapping[str, Any], device: str, root: Path) -> str:
    """The plan as text."""
    rows = estimates(config, device, root)
    if not rows:
        return f"Plan of the study {config['study']}: it trains no networks; its jobs take seconds."
    unit = "core hours" if device == "cpu" else "GPU hours"
    table = [("stage", "data set", "network", "jobs", unit, "disk", "memory", "rate from")]
    table += [
        (
            row.stage, row.dataset, row.model, str(row.jobs), f"{row.hours:,.1f}", _bytes(row.disk),
            _bytes(row.memory), row.source,
        )
        for row in rows
    ]  # fmt: skip
    images = {name: size_of(config["datasets"][name]) for name in {run.dataset for run in all_runs(config)}}
    prepared = sum(size.bytes for size in images.values())
    hours, disk = sum(row.hours for row in rows), sum(row.disk for row in rows)
    jobs = Counter({row.stage: 0 for row in rows})
    for row in rows:
        jobs[row.stage] += row.jobs
    temporary = temporary_bytes(config)
    lines = [
        f"Plan of the study {config['study']}, from nothing, on {device}. An estimate: rates can be off by some times.",
        "",
        *_aligned(table),
        "",
        f"Runs: {len(all_runs(config)):,}. Jobs: {', '.join(f'{n:,} {stage}' for stage, n in jobs.items())}, and "
        "those that prepare, tabulate and draw, which take minutes.",
        f"Time: {hours:,.1f} {unit}; divide by the jobs that run at once.",
        f"Disk: {_bytes(disk + prepared)}, of which images {_bytes(prepared)} (uncompressed) and checkpoints "
        f"{_bytes(sum(row.disk for row in rows if row.stage == 'train'))}.",
        "Memory is that of a stage's largest job, on each of its GPUs if there are any, beside the images kept "
        "(operational.images_memory_mb).",
    ]
    lines += [
        f"{name}: counted as ImageNet-1k ({size.train:,} and {size.test:,} images); its folder was not looked at."
        for name, size in images.items()
        if not size.exact
    ]
    if temporary:
        lines.append(
            f"Temporary: up to {_bytes(temporary)} for each block of checkpoints that is measured in shards, until "
            "they are added up."
        )
    return "\n".join(lines)


def _aligned(table: Iterable[tuple[str, ...]]) -> list[str]:
    rows = list(table)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numbers = range(3, 7)
    return [
        "  ".join(
            text.rjust(width) if column in numbers else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _bytes(number: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9)):
        if number >= factor:
            return f"{number / factor:,.1f} {unit}"
    return f"{number / 1e6:,.0f} MB"
