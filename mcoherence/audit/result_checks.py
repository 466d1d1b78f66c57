"""Checks of result files before a report is written: that they are those which the config asks for, and fit together.

Snakemake sees to this as long as its records are there and heeded. A lost `.snakemake` folder, `--touch`, other
`--rerun-triggers` or a file that was copied in can leave files of other settings among those of today; but every file
says what it was made from.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mcoherence.audit.changes import changes
from mcoherence.claims.stored import read_claims
from mcoherence.errors import UserError
from mcoherence.files.canonical import canonical_json
from mcoherence.files.digests import sha256_of
from mcoherence.files.hdf5 import check_content, read_attributes
from mcoherence.files.provenance import Provenance, digest_of
from mcoherence.files.seals import LOG, SealError, carried_seal, check_tensor_bytes, sealed_metadata
from mcoherence.files.tables import check_table
from mcoherence.study import settings
from mcoherence.study.catalogue import all_runs, halved_datasets, results_of, scored_networks
from mcoherence.study.results import result
from mcoherence.study.runs import Config, results_folder, study_file
from mcoherence.study.segments import segments

HASHED_BYTES = 10**9  # of inputs that are hashed again: a second or two
REMEDY = "delete the file and run again"


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
    results, runs = results_folder(config), all_runs(config)
    for dataset in dict.fromkeys(run.dataset for run in runs):
        yield study_file(results, "images", dataset=dataset), settings.preparation_settings(config, dataset)
    for run in runs:
        yield run.file(results, "labels"), settings.corruption_settings(config, run.labels, run.seed)
        for start, stop in segments(settings.training_of_run(config, run)):
            of_segment = settings.training_settings(config, run, start, stop)
            for step in of_segment["checkpoint_steps"]:
                yield run.checkpoint(results, step), of_segment
    for name, measured in results_of(config).items():
        for run in measured:
            yield run.file(results, name), dict(result(name).settings(config, run))
    for dataset, model in scored_networks(config):
        scores = settings.difficulty_settings(config, dataset, model)
        yield study_file(results, "difficulty", dataset=dataset, model=model), scores
        yield study_file(results, "split", dataset=dataset, model=model), settings.split_settings(config)
    for dataset in halved_datasets(config):
        yield study_file(results, "halves", dataset=dataset), settings.halves_settings(config)


def read_provenance(path: Path) -> Provenance:
    """What an HDF5 file or a checkpoint says of itself; UserError if it is missing, damaged or says nothing."""
    try:
        if path.suffix == ".safetensors":
            found = json.loads(sealed_metadata(path)["provenance"])
        else:
            found = read_attributes(path)
            found |= {key: json.loads(found[key]) for key in ("settings", "inputs", "versions")}
        origin = Provenance.from_attributes(found)
        if not all(isinstance(one, dict) for one in (origin.settings, origin.inputs, origin.versions)):
            raise TypeError("settings, inputs or versions are no mapping")
        return origin
    except (OSError, KeyError, TypeError, ValueError, RecursionError, UserError) as error:
        reason = str(error).removeprefix(f"{path}: ") or repr(error)
        raise UserError(f"{path}: missing, damaged or not a result file ({reason}); {REMEDY}") from error


def provenance_of_claims(path: Path) -> Provenance:
    """That of claims.json, checked with its page; UserError if one is missing or was changed."""
    try:
        return Provenance.from_attributes(read_claims(path, path.with_suffix(".html"))["provenance"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: found no provenance ({error!r}), expected claims of this study; {REMEDY}") from error


def provenance_of_figure(sources: Mapping[str, str]) -> Provenance:
    """That of a figure, which says what it was drawn from and no more: path -> digest."""
    return Provenance(settings={}, inputs=dict(sources), git_commit="", device="", versions={})


def check_results(config: Config, further: Mapping[str, Provenance]) -> Findings:
    """Check every result file of a study against its config, and against the files that it was made from.

    Args:
        config: the validated config.
        further: file -> provenance of files whose inputs are to be checked as well: the claims and the figures.

    Raises:
        UserError: one line about the first file that was made by other settings than the config's, or from another
            version of a file than the one that is there now.
    """
    expected = result_files(config)
    found = {path: read_provenance(Path(path)) for path in expected}
    results = Path(results_folder(config))
    checkpoints = _checkpoints_of_runs(expected)
    for path, own in expected.items():
        check_settings(path, found[path].settings, own)
        if of_run := checkpoints.get(Path(path).parent):
            check_checkpoints(path, found[path], of_run, results)
    check_logs(config)
    hashed, not_hashed = check_inputs({**found, **further}, results)
    libraries = sorted({name for one in found.values() for name in one.versions})
    return Findings(
        files=len(found),
        commits=Counter(one.git_commit for one in found.values()),
        devices=Counter(one.device for one in found.values()),
        versions={
            name: Counter(one.versions[name] for one in found.values() if name in one.versions) for name in libraries
        },
        hashed=hashed,
        not_hashed=not_hashed,
    )


def check_logs(config: Config) -> None:
    """Check every training log against the digest of it in the state that its segment ended with, where that is there.

    Raises:
        UserError: one line about the first that is missing or was changed, with the command that makes it again.
    """
    for run in all_runs(config):
        for start, stop in segments(settings.training_of_run(config, run)):
            folder = Path(run.checkpoint(results_folder(config), stop)).parents[1]
            state = folder / f"state/update{stop}.safetensors"
            log = folder / (f"training_log_from_{start}.csv" if start else "training_log.csv")
            if state.is_file():
                check_log(log, state)


def check_log(log: Path, state: Path) -> None:
    """Check one training log; errors of `check_logs`."""
    remedy = _made_again(log)
    try:
        expected = sealed_metadata(state).get(LOG)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{state}: damaged ({error}); {_made_again(state)}") from error
    if not log.is_file():
        raise UserError(f"{log}: missing, expected the log of the training that ended in {state.name}; {remedy}")
    if sha256_of(log) != expected:
        raise UserError(f"{log}: changed since it was made, expected the rows of {state.name}'s digest; {remedy}")


def _checkpoints_of_runs(paths: Iterable[str]) -> dict[Path, set[Path]]:
    """Folder of each run -> its checkpoints among the paths."""
    checkpoints: dict[Path, set[Path]] = {}
    for file in map(Path, paths):
        if file.suffix == ".safetensors":
            checkpoints.setdefault(file.parents[1], set()).add(file)
    return checkpoints


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


def check_checkpoints(path: str, provenance: Provenance, expected: set[Path], results: Path) -> None:
    """UserError unless a file that was made from checkpoints was made from those of its own run, and from all."""
    found = {_below(results, name) for name in provenance.inputs if name.endswith(".safetensors")}
    if found and found != expected:
        other = min(found ^ expected)
        what = f"made from {other}" if other in found else f"not made from {other}"
        raise UserError(f"{path}: {what}, expected the {len(expected)} checkpoints of its run, no others; {REMEDY}")


def check_inputs(files: Mapping[str, Provenance], results: Path, limit: int = HASHED_BYTES) -> tuple[int, int]:
    """Check that the inputs of files are those that are there now.

    Inputs that were deleted since are passed over. All others that carry a seal must carry the one that was recorded.
    And smallest first, as many are read and compared with their digests as have no more than `limit` bytes together.

    Args:
        files: path -> what the file says of itself.
        results: folder of the study.
        limit: bytes.

    Returns:
        Number of inputs that were read, and number of those that were not.

    Raises:
        UserError: one line about the first file that was made from another version of an input.
    """
    recorded: dict[Path, tuple[str, str]] = {}  # input -> its digest, and the first file that was made from it
    for path, provenance in files.items():
        for name, digest in provenance.inputs.items():
            known, first = recorded.setdefault(_below(results, name), (digest, path))
            if known != digest:
                raise UserError(f"{path}: made from another {name} than {first}; expected the same one; {REMEDY}")
    present = sorted((path.stat().st_size, path) for path in recorded if path.is_file())
    total = hashed = 0
    for size, file in present:
        total += size
        digest, path = recorded[file]
        found = digest_of(file) if total <= limit else carried_seal(file)
        if found is not None and found != digest:
            raise UserError(f"{path}: made from another {file} than the one that is there now; {REMEDY}")
        if total <= limit:
            check_bytes(file)
            hashed += 1
    return hashed, len(present) - hashed


def check_bytes(file: Path) -> None:
    """Read a file that carries digests of its content and compare; others are compared by `digest_of` already.

    Raises:
        UserError: it is not as it was written.
    """
    if carried_seal(file) is None:
        return
    if file.suffix == ".h5":
        check_content(file)
    elif file.suffix == ".parquet":
        check_table(file)
    else:
        try:
            check_tensor_bytes(file)
        except (OSError, SealError) as error:
            raise UserError(f"{file}: damaged ({error}); {_made_again(file)}") from error


def _made_again(file: Path) -> str:
    """The command that makes a file again which no job of a finished study is waiting for."""
    return f"make it again: snakemake --cores all --force {file}"


def _below(results: Path, name: str) -> Path:
    """The path of an input: what lies in the study's folder is found there under whatever name the study had then."""
    parts = PurePosixPath(name).parts
    return results.joinpath(*parts[2:]) if parts[:1] == ("results",) else Path(name)
