"""Checks of result files before a report is written: that they are those which the config asks for, and fit together.

Snakemake sees to this as long as its records are there and heeded. A lost `.snakemake` folder, `--touch`, other
`--rerun-triggers` or a file that was copied in can leave files of other settings among those of today; but every file
says what it was made from.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
from safetensors import SafetensorError, safe_open

from mcoherence.audit.changes import changes
from mcoherence.data.subsets import FIRST_STAGE
from mcoherence.errors import UserError
from mcoherence.files.canonical import canonical_json
from mcoherence.files.provenance import digest_of
from mcoherence.study import settings as study
from mcoherence.study.runs import (
    Config,
    Run,
    adversarial_start_runs,
    all_runs,
    contribution_runs,
    difficulty_coherence_runs,
    easy_hard_runs,
    label_noise_runs,
    makes,
    reference_runs,
    results_folder,
    sample_size_runs,
    second_split_runs,
    sweep_runs,
)
from mcoherence.study.segments import segments

HASHED_BYTES = 10**9  # of inputs that are hashed again, smallest first: a second or two
REMEDY = "delete the file and run again"


@dataclass(frozen=True)
class Origin:
    """Where a result file says that it comes from: its attributes, see `mcoherence.files.provenance`."""

    settings: dict[str, Any]
    inputs: dict[str, str]
    git_commit: str
    device: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Findings:
    """What the files of a study say of themselves, and how far that was checked.

    files: number of files whose settings were read and are those that the config asks for.
    commits, devices: commit or device -> number of files made by it.
    versions: library -> version -> number of files.
    hashed, not_hashed: inputs whose bytes were compared with what the files made from them say, and those left out.
    """

    files: int
    commits: Counter[str]
    devices: Counter[str]
    versions: dict[str, Counter[str]]
    hashed: int
    not_hashed: int


def result_files(config: Config) -> dict[str, dict[str, Any]]:
    """Path of every HDF5 file and checkpoint that the study's tables are made from -> its settings."""
    return dict(_result_files(config))


def _result_files(config: Config) -> Iterator[tuple[str, dict[str, Any]]]:
    results = results_folder(config)
    runs = all_runs(config)
    for dataset in dict.fromkeys(run.dataset for run in runs):
        yield f"{results}/data/{dataset}/images.h5", study.preparation_settings(config, dataset)
    for run in runs:
        yield run.labels_path(results), study.corruption_settings(config, run.labels, run.seed)
        training = study.training_of_run(config, run)
        for start, stop in segments(training):
            settings = study.training_settings(config, run, start, stop)
            for step in settings["checkpoint_steps"]:
                yield f"{run.path(results)}/checkpoints/step{step}.safetensors", settings
    for run, name, settings in _measurements(config):
        yield f"{run.path(results)}/{name}", settings
    yield from _difficulty_files(config, results)


def _measurements(config: Config) -> Iterator[tuple[Run, str, dict[str, Any]]]:
    """Run, file name and settings of what is measured along runs."""
    evaluated: list[Run] = []
    measured: list[Run] = []
    if makes(config, "label_noise"):
        runs = label_noise_runs(config["label_noise"])
        evaluated, measured = [*runs], [*runs]
    if makes(config, "easy_hard"):
        evaluated += easy_hard_runs(config["easy_hard"])
    if makes(config, "second_split"):
        for dataset, model in _networks(config["easy_hard"]):
            evaluated += second_split_runs(config["easy_hard"], dataset, model)
    if makes(config, "sweep"):
        runs = sweep_runs(config["sweep"])
        evaluated += runs
        measured += runs
    if makes(config, "adversarial_start"):
        evaluated += adversarial_start_runs(config["adversarial_start"])
    for experiment in _split_experiments(config):
        for dataset, model in _networks(experiment):
            evaluated += reference_runs(config["easy_hard"], dataset, model)
    if makes(config, "sample_size"):
        runs = sample_size_runs(config["sample_size"])
        measured += runs
        for run, size in product(runs, config["sample_size"]["sizes"]):
            yield run, f"coherence_m{size}.h5", study.sample_size_settings(config, size)
    for run in evaluated:
        yield run, "evaluation.h5", {}
    for run in measured:
        yield run, "coherence.h5", study.measurement_settings(config, run.subset)
    for run in contribution_runs(config):
        yield run, "contributions.h5", study.contribution_settings(config)
    if makes(config, "difficulty_coherence"):
        for run in difficulty_coherence_runs(config["easy_hard"]):
            yield run, "difficulty_coherence.h5", dict(config["measurement"])


def _difficulty_files(config: Config, results: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for experiment in _split_experiments(config):
        for dataset, model in _networks(experiment):
            scores = study.difficulty_settings(config, dataset, model)
            yield f"{results}/difficulty/{dataset}/{model}/difficulty.h5", scores
            yield f"{results}/splits/{dataset}/{model}/split.h5", study.split_settings(config)
    if any(run.subset in FIRST_STAGE for run in all_runs(config)):
        for dataset in config["easy_hard"]["datasets"]:
            yield f"{results}/splits/{dataset}/halves.h5", study.halves_settings(config)


def _split_experiments(config: Config) -> list[Config]:
    """The experiments that ask which examples are easy."""
    return [config[name] for name in ("easy_hard", "adversarial_start") if makes(config, name)]


def _networks(experiment: Config) -> list[tuple[str, str]]:
    return list(product(experiment["datasets"], experiment["models"]))


def read_origin(path: Path) -> Origin:
    """What an HDF5 file or a checkpoint says of itself; UserError if it is missing, damaged or says nothing."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="np") as file:
                found = json.loads((file.metadata() or {})["provenance"])
        else:
            with h5py.File(path, "r") as file:
                found = {key: file.attrs[key] for key in ("settings", "inputs", "git_commit", "device", "versions")}
            found |= {key: json.loads(found[key]) for key in ("settings", "inputs", "versions")}
        return Origin(**found)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: missing, damaged or not a result file ({error}); {REMEDY}") from error


def origin_of_figure(sources: Mapping[str, str]) -> Origin:
    """The origin of a figure, which says what it was drawn from and no more: path -> digest."""
    return Origin(settings={}, inputs=dict(sources), git_commit="", device="", versions={})


def check_results(config: Config, origins: Mapping[str, Origin] | None = None) -> Findings:
    """Check every result file of a study against its config, and against the files that it was made from.

    Args:
        config: the validated config.
        origins: file -> origin of further files whose inputs are to be checked: the claims and the figures.

    Raises:
        UserError: one line about the first file that was made by other settings than the config's, or from another
            version of a file than the one that is there now.
    """
    expected = result_files(config)
    read = {path: read_origin(Path(path)) for path in expected}
    for path, settings in expected.items():
        check_settings(path, read[path].settings, settings)
    results = Path(results_folder(config))
    of_runs: dict[Path, set[Path]] = {}
    for file in map(Path, expected):
        if file.suffix == ".safetensors":
            of_runs.setdefault(file.parents[1], set()).add(file)
    for path, origin in read.items():
        if Path(path).parent in of_runs:
            check_checkpoints(path, origin, of_runs[Path(path).parent], results)
    hashed, not_hashed = check_inputs(read | dict(origins or {}), results)
    libraries = sorted({name for origin in read.values() for name in origin.versions})
    return Findings(
        files=len(read),
        commits=Counter(origin.git_commit for origin in read.values()),
        devices=Counter(origin.device for origin in read.values()),
        versions={
            name: Counter(origin.versions[name] for origin in read.values() if name in origin.versions)
            for name in libraries
        },
        hashed=hashed,
        not_hashed=not_hashed,
    )


def check_settings(path: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """UserError, naming a key, unless a file was made by the settings that the config asks for."""
    differing = changes(json.loads(canonical_json(found)), json.loads(canonical_json(expected)))
    if differing:
        first, more = differing[0], len(differing) - 1
        others = f" (and {more} more keys)" if more else ""
        raise UserError(
            f"{path}: made with {first.key} {first.old!r}{others}, expected {first.new!r} as the config asks for; the "
            f"report would mix settings; {REMEDY}"
        )


def check_checkpoints(path: str, origin: Origin, expected: set[Path], results: Path) -> None:
    """UserError unless a file that was made from checkpoints was made from those of its own run, and from all."""
    found = {_below(results, name) for name in origin.inputs if name.endswith(".safetensors")}
    if found and found != expected:
        other = min(found ^ expected)
        what = f"made from {other}" if other in found else f"not made from {other}"
        raise UserError(f"{path}: {what}, expected the {len(expected)} checkpoints of its run, no others; {REMEDY}")


def check_inputs(origins: Mapping[str, Origin], results: Path, limit: int = HASHED_BYTES) -> tuple[int, int]:
    """Check that the inputs of files are those that are there now.

    Files that were deleted since are passed over. Of the others, smallest first, as many are hashed as have no more
    than `limit` bytes; larger ones must at least be the same for all files that were made from them.

    Returns:
        Number of inputs hashed, and number of those that were not.

    Raises:
        UserError: one line about the first file that was made from another version of an input.
    """
    recorded: dict[Path, tuple[str, str]] = {}
    for path, origin in origins.items():
        for name, sha256 in origin.inputs.items():
            known, by = recorded.setdefault(_below(results, name), (sha256, path))
            if known != sha256:
                raise UserError(f"{path}: made from another {name} than {by}; expected the same one; {REMEDY}")
    present = sorted((path.stat().st_size, path) for path in recorded if path.is_file())
    total = hashed = 0
    for size, file in present:
        total += size
        if total > limit:
            break
        hashed += 1
        sha256, made = recorded[file]
        if digest_of(file) != sha256:
            raise UserError(f"{made}: made from another {file} than the one that is there now; {REMEDY}")
    return hashed, len(present) - hashed


def _below(results: Path, name: str) -> Path:
    """The path of an input: what lies in the study's folder is found there under whatever name the study had then."""
    parts = PurePosixPath(name).parts
    return results.joinpath(*parts[2:]) if parts[:1] == ("results",) else Path(name)


def several(counts: Iterable[tuple[str, int]]) -> str:
    """Values with how many files say so, the most frequent first; the value alone where all say the same."""
    ordered = sorted(counts, key=lambda count: (-count[1], count[0]))
    if len(ordered) == 1:
        return ordered[0][0]
    return ", ".join(f"{value} ({number} files)" for value, number in ordered)
