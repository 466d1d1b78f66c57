"""What a study will take before it runs: jobs, hours, disk and memory, and where each number comes from.

Hours are work (`study.estimates`) over a speed (`audit.speeds`).
"""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mcoherence.audit.speeds import (
    COPY_SECONDS,
    PASS_SECONDS,
    START_SECONDS,
    Network,
    Rate,
    network_of,
    rate_elsewhere,
    rate_of_earlier_jobs,
)
from mcoherence.data.read_ahead import BYTES as READ_AHEAD
from mcoherence.models.memory import example_bytes
from mcoherence.optim.methods import METHODS
from mcoherence.study.catalogue import all_runs, results_of
from mcoherence.study.cutting import cut_of
from mcoherence.study.data_sizes import Size, size_of
from mcoherence.study.estimates import (
    ABOUT,
    Sizes,
    Way,
    readers,
    result_batch,
    result_bytes,
    result_passes,
    temporary_bytes,
    training_bytes,
    training_passes,
)
from mcoherence.study.results import STAGES, result, steps_of_result
from mcoherence.study.runs import Config, Run, split_varies
from mcoherence.study.segments import checkpoint_steps, segments
from mcoherence.study.settings import model_settings, optimizer_settings, training_of_run


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


def stages_of(config: Config) -> dict[str, list[tuple[Run, str]]]:
    """Stage -> its (run, "train" or the name of a result), for every run that has it."""
    stages: dict[str, list[tuple[Run, str]]] = {stage: [] for stage in STAGES}
    stages["train"] = [(run, "train") for run in all_runs(config)]
    for name, runs in results_of(config).items():
        stages[result(name).stage] += [(run, name) for run in runs]
    return stages


def jobs_of(config: Config, run: Run, what: str) -> int:
    """Number of jobs that train a run, or make one of its results."""
    if what == "train":
        return len(segments(training_of_run(config, run)))
    return cut_of(config, run, what).jobs


def work_of(config: Config, run: Run, what: str) -> float:
    """Operations of training a run, or of one of its results, all jobs together."""
    if what == "train":
        passes: float = training_passes(config, run, training_of_run(config, run)["updates"])
    else:
        passes = result_passes(config, run, what)
    return passes * _network(config, run).flops


def memory_of(config: Config, run: Run, what: str, device: str) -> float:
    """Bytes that a job takes beside its images, on each of its GPUs if there are any."""
    if what == "train":
        return training_bytes(config, run, COUNTED)
    return result_bytes(config, run, what, device != "cpu", COUNTED)


def _example_bytes(model: Mapping[str, Any], size: Size, way: Way, precision: str) -> float:
    try:
        return example_bytes(model, size.shape, size.classes, way, getattr(torch, precision))
    except Exception:  # a user's own network can do anything with black images; then it is guessed
        if ":" not in model["architecture"]:
            raise
        return ABOUT.example(model, size, way, precision)


COUNTED = Sizes(lambda model, size: network_of(model, size).parameters, _example_bytes)


def disk_of(config: Config, run: Run, what: str) -> float:
    """Bytes that stay on disk: checkpoints and end states of segments, or loss and prediction; sums are small."""
    size, training = _size(config, run), training_of_run(config, run)
    if what not in ("train", "evaluation"):
        return 0.0
    if what == "train":
        optimizer = optimizer_settings(config, run.optimizer, run.model)
        kept = METHODS[optimizer["method"]].kept_gradients(optimizer)
        checkpoints = len(checkpoint_steps(training))
        return float((checkpoints + (1 + kept) * len(segments(training))) * _network(config, run).bytes)
    return len(steps_of_result(config, run, what)) * 8.0 * result(what).examples(config, run, size)


def estimates(config: Config, device: str, root: Path) -> list[Estimate]:
    """One row per stage, data set and network, in the order of the study.

    Args:
        config: the study's settings with their defaults.
        device: "cuda", "mps" or "cpu", where the jobs will run.
        root: folder with benchmarks/; results are looked for where the study puts them.
    """
    rows = []
    for stage, made in stages_of(config).items():
        for (dataset, model), group in _by_network(made).items():
            rate = _rate_of(config, model, group, device, root)
            jobs = sum(jobs_of(config, run, what) for run, what in group)
            seconds = sum(_working_seconds(config, run, what, rate, device) for run, what in group)
            seconds += start_seconds(config, device) * jobs
            disk = sum(disk_of(config, run, what) for run, what in group)
            memory = max(memory_of(config, run, what, device) for run, what in _kinds(group))
            rows.append(Estimate(stage, dataset, model, jobs, seconds / 3600, disk, memory, rate.source))
    return rows


def job_seconds(config: Config, device: str, root: Path) -> dict[str, dict[str, float]]:
    """Seconds that one job takes which trains a run, or makes one of its results or a part of it.

    "train" or name of a result -> name of the run, which is its folder below that of the runs -> seconds. All jobs of a
    run's training are taken to be equally long, and so are the parts of a result.

    Args:
        config: the study's settings with their defaults.
        device: "cuda", "mps" or "cpu", where the jobs will run.
        root: folder with benchmarks/.
    """
    seconds: dict[str, dict[str, float]] = {}
    for made in stages_of(config).values():
        for (_, model), group in _by_network(made).items():
            rate = _rate_of(config, model, group, device, root)
            for run, what in group:
                workers = jobs_of(config, run, what) if what == "train" else cut_of(config, run, what).parts
                of_one = _working_seconds(config, run, what, rate, device) / workers
                name = run.path("").removeprefix("/runs/")
                seconds.setdefault(what, {})[name] = of_one + start_seconds(config, device)
    return seconds


def _by_network(made: Iterable[tuple[Run, str]]) -> dict[tuple[str, str], list[tuple[Run, str]]]:
    """(data set, network) -> what is done with it, of what is done in a stage."""
    groups: dict[tuple[str, str], list[tuple[Run, str]]] = {}
    for run, what in made:
        groups.setdefault((run.dataset, run.model), []).append((run, what))
    return groups


def _working_seconds(config: Config, run: Run, what: str, rate: Rate, device: str) -> float:
    """Seconds of training a run, or of one of its results, all jobs together, but for their starts."""
    seconds = work_of(config, run, what) / rate.flops_per_s
    if what == "train" and device == "cpu" and not rate.of_this_study:
        seconds += PASS_SECONDS * passes_of(config, run)
    return seconds


def _kinds(group: Iterable[tuple[Run, str]]) -> list[tuple[Run, str]]:
    """Those of the (run, what is done) that differ in more than labels, part and seed, which decide no size."""
    return list({(run.dataset, run.model, run.optimizer, what): (run, what) for run, what in group}.values())


def small_batches(config: Config, device: str) -> dict[tuple[str, str, str], int]:
    """(stage, data set, network) -> examples at a time, where fewer fit in memory than there could be."""
    found: dict[tuple[str, str, str], int] = {}
    gpu, unbounded = device != "cpu", {**config, "operational": {}}
    for stage, made in stages_of(config).items():
        for run, what in _kinds(made) if stage != "train" else ():
            batch = result_batch(config, run, what, gpu, COUNTED)
            if batch < result_batch(unbounded, run, what, gpu, COUNTED):
                key = (stage, run.dataset, run.model)
                found[key] = min(batch, found.get(key, batch))
    return found


def start_seconds(config: Config, device: str) -> float:
    """Seconds of a job before it works; fewer where it is a copy of a process that has imported torch."""
    copies = device == "cpu" and sys.platform == "linux" and config.get("operational", {}).get("fork_jobs", False)
    return COPY_SECONDS if copies else START_SECONDS


def passes_of(config: Config, run: Run) -> int:
    """Forward and backward passes of the training of a run, over as many examples as a group or mini-batch has."""
    optimizer = optimizer_settings(config, run.optimizer, run.model)
    method = METHODS[optimizer["method"]]
    updates: int = training_of_run(config, run)["updates"]
    return updates * method.mini_batches(optimizer) * method.groups(optimizer)


def _rate_of(config: Config, model: str, group: list[tuple[Run, str]], device: str, root: Path) -> Rate:
    """The rate of a stage of one network on one data set."""
    own = rate_of_earlier_jobs(config, ((run, what, work_of(config, run, what)) for run, what in group))
    if own is not None:
        return own
    run, what = group[0]
    measures = what != "train" and result(what).groups(config) > 0
    precision = config["measurement"].get("precision", "float64") if measures else None
    return rate_elsewhere(model_settings(config, model), _size(config, run), device, root, precision)


def most_temporary_bytes(config: Config) -> float:
    """The most bytes that the sums of one block of checkpoints take in all of its shards, until they are added up."""
    made = ((run, name) for name, runs in results_of(config).items() for run in runs)
    return max((temporary_bytes(config, run, name) for run, name in made), default=0.0)


def describe(config: Config, device: str, root: Path) -> str:
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
    runs = all_runs(config)
    images = {name: size_of(config["datasets"][name]) for name in {run.dataset for run in runs}}
    seeds = {
        name: len({run.seed for run in runs if run.dataset == name}) for name in images if split_varies(config, name)
    }
    prepared = sum((1 + seeds.get(name, 0)) * size.bytes for name, size in images.items())
    hours, disk = sum(row.hours for row in rows), sum(row.disk for row in rows)
    jobs = Counter({row.stage: 0 for row in rows})
    for row in rows:
        jobs[row.stage] += row.jobs
    lines = [
        f"Plan of the study {config['study']}, from nothing, on {device}. An estimate: rates can be off by some times.",
        "",
        *_aligned(table),
        "",
        f"Runs: {len(runs):,}. Jobs: {', '.join(f'{n:,} {stage}' for stage, n in jobs.items())}, and "
        "those that prepare, tabulate and draw, which take minutes.",
        f"Time: {hours:,.1f} {unit}; divide by the jobs that run at once.",
        f"Disk: {_bytes(disk + prepared)}, of which images {_bytes(prepared)} (uncompressed) and checkpoints "
        f"{_bytes(sum(row.disk for row in rows if row.stage == 'train'))}.",
        "Memory is that of a stage's largest job, on each of its GPUs if there are any, beside the images kept "
        "(operational.images_memory_mb). Tensors are counted; a device's libraries take up to a GB besides.",
    ]
    setting = "cpu_batch_mb" if device == "cpu" else "gpu_batch_mb"
    lines += [
        f"{stage} of {model} on {dataset}: {batch:,} examples at a time, as many as fit in operational.{setting}."
        for (stage, dataset, model), batch in small_batches(config, device).items()
    ]
    lines += [
        f"{name}: counted as ImageNet-1k ({size.train:,} and {size.test:,} images); its folder was not looked at."
        for name, size in images.items()
        if not size.exact
    ]
    budget = config.get("operational", {}).get("images_memory_mb", 0) * 10**6
    streamed = [name for name, size in images.items() if size.bytes > budget]
    if streamed and readers(config):
        lines.append(
            f"Readers: a job that streams images ({', '.join(streamed)}) starts up to {readers(config)} processes, "
            f"which keep up to {_bytes(readers(config) * READ_AHEAD)} in /dev/shm, or a batch each."
        )
    temporary = most_temporary_bytes(config)
    if temporary:
        lines.append(
            f"Temporary: up to {_bytes(temporary)} for each block of checkpoints that is measured in shards, until "
            "they are added up."
        )
    return "\n".join(lines)


def _network(config: Config, run: Run) -> Network:
    return network_of(model_settings(config, run.model), _size(config, run))


def _size(config: Config, run: Run) -> Size:
    return size_of(config["datasets"][run.dataset])


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
