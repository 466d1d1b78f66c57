"""Checks of result files before a report is written: that they are those which the config asks for, and fit together.

Snakemake sees to this as long as its records are there and heeded. A lost `.snakemake` folder, `--touch`, other
`--rerun-triggers` or a file that was copied in can leave files of other settings among those of today; but every file
says what it was made from.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcoherence.audit.changes import changes
from mcoherence.audit.comparison import below
from mcoherence.audit.origins import read_provenance
from mcoherence.audit.shown_checks import Tell, passed_on, stop
from mcoherence.errors import UserError
from mcoherence.files.canonical import canonical_json
from mcoherence.files.digests import sha256_of
from mcoherence.files.faults import REMEDY, FileFaultError
from mcoherence.files.hdf5 import check_content
from mcoherence.files.provenance import Provenance, digest_of
from mcoherence.files.seals import LOG, SealError, carried_seal, check_tensor_bytes, sealed_metadata
from mcoherence.files.tables import check_table
from mcoherence.files.whose import HDF5_SUFFIXES
from mcoherence.study import job_code, settings
from mcoherence.study.catalogue import (
    all_runs,
    figures_of,
    halved_datasets,
    optimizers_of_study,
    results_of,
    scored_networks,
    tables_of,
)
from mcoherence.study.colors import figure_settings
from mcoherence.study.results import result, steps_of_result
from mcoherence.study.runs import Config, images_of, results_folder, split_varies, study_file, table_file
from mcoherence.study.segments import segments

CheckCode = Callable[[str, str, job_code.Modules], None]  # (path, digest that the file says, modules that make it)

HASHED_BYTES = 10**9  # of inputs that are hashed again: a second or two


@dataclass(frozen=True)
class Findings:
    """What the files of a study say of themselves, and how far that was checked.

    files: number of files whose settings were read and are those that the config asks for.
    commits, devices, precisions: commit, device or precision of float32 products -> number of files made by it.
    versions: library -> version -> number of files.
    hashed, not_hashed: inputs whose bytes were compared with what the files made from them say, and those left out.
    """

    files: int
    commits: Counter[str]
    devices: Counter[str]
    precisions: Counter[str]
    versions: dict[str, Counter[str]]
    hashed: int
    not_hashed: int


def result_files(config: Config) -> dict[str, dict[str, Any]]:
    """Path of every HDF5 file and checkpoint that the study's tables are made from -> its settings."""
    return {file.path: file.settings for file in expected_files(config, Path(results_folder(config)))}


@dataclass(frozen=True)
class ExpectedFile:
    """A file as the config and the code of today would have it made."""

    path: str
    settings: dict[str, Any]
    modules: job_code.Modules
    checkpoints: frozenset[Path] = frozenset()  # those of its run that it is made from


def expected_files(config: Config, results: Path) -> list[ExpectedFile]:
    """Every HDF5 file and checkpoint that the tables of the study in this folder are made from, each once."""
    return list({file.path: file for file in _result_files(config, str(results))}.values())


def _result_files(config: Config, results: str) -> Iterator[ExpectedFile]:
    runs = all_runs(config)
    for dataset in dict.fromkeys(run.dataset for run in runs):
        path = study_file(results, "images", dataset=dataset)
        prepared = settings.preparation_settings(config, dataset)
        yield ExpectedFile(path, prepared, job_code.preparation(config, dataset))
    for run in runs:
        if split_varies(config, run.dataset):
            prepared = settings.preparation_settings(config, run.dataset, run.seed)
            path = run.file(results, images_of(config, run))
            yield ExpectedFile(path, prepared, job_code.preparation(config, run.dataset))
        corrupted = settings.corruption_settings(config, run.labels, run.seed)
        yield ExpectedFile(run.file(results, "labels"), corrupted, job_code.corruption())
        for start, end in segments(settings.training_of_run(config, run)):
            of_segment = settings.training_settings(config, run, start, end)
            for step in of_segment["checkpoint_steps"]:
                yield ExpectedFile(run.checkpoint(results, step), of_segment, job_code.training(config, run))
    for name, measured in results_of(config).items():
        for run in measured:
            of_result = dict(result(name).settings(config, run))
            code = job_code.whole_result(config, run, name)
            made_from = frozenset(Path(run.checkpoint(results, step)) for step in steps_of_result(config, run, name))
            yield ExpectedFile(run.file(results, name), of_result, code, made_from)
    for dataset, model in scored_networks(config):
        scores = settings.difficulty_settings(config, dataset, model)
        path = study_file(results, "difficulty", dataset=dataset, model=model)
        yield ExpectedFile(path, scores, job_code.scoring())
        path = study_file(results, "split", dataset=dataset, model=model)
        yield ExpectedFile(path, settings.split_settings(config), job_code.splitting())
    for dataset in halved_datasets(config):
        path = study_file(results, "halves", dataset=dataset)
        yield ExpectedFile(path, settings.halves_settings(config), job_code.halving())


def _shown_files(config: Config, results: str) -> Iterator[ExpectedFile]:
    """The tables, the figures and the claims."""
    for name in tables_of(config):
        yield ExpectedFile(table_file(results, name), settings.table_settings(config, name), job_code.tabulation(name))
    look = figure_settings(config, optimizers_of_study(config))
    for name in figures_of(config):
        yield ExpectedFile(f"{results}/figures/{name}.png", look, job_code.drawing(name))
    yield ExpectedFile(f"{results}/claims.json", settings.claim_settings(config), job_code.claim_check())


def present_code(root: Path) -> CheckCode:
    """A check that a file was made by the code which is below `root` now."""
    code_of = job_code.code_at(root)
    return lambda path, found, modules: check_code(path, found, code_of(modules))


def one_code() -> CheckCode:
    """A check that all files which the same modules make were made by one version of these, whichever it was."""
    first: dict[job_code.Modules, tuple[str, str]] = {}

    def check(path: str, found: str, modules: job_code.Modules) -> None:
        code, other = first.setdefault(modules, (found, path))
        if found != code:
            raise UserError(
                f"{path}: made by other code ({found or 'it does not say which'}) than {other} ({code}), expected one "
                f"version of it in a study; {REMEDY}"
            )

    return check


def check_results(
    config: Config, results: Path, check_code_of: CheckCode, tell: Tell = stop, limit: int = HASHED_BYTES
) -> Findings:
    """Check all that a report shows and every result file of a study against its config, its code, and one another.

    Args:
        config: the validated config.
        results: folder of the study.
        check_code_of: what is asked of the code that made each file.
        tell: is given every fault, a line about a file that was made by other settings than the config's, by other code
            than is asked for, or from another version of a file than the one that is there now, or that is missing or
            damaged.
        limit: bytes of inputs that are read and compared with their digests, see `check_inputs`.

    Raises:
        UserError: what `tell` raises.
    """
    expected = expected_files(config, results)
    shown = list(_shown_files(config, str(results)))
    every: dict[str, Provenance] = {}
    for file in (*expected, *shown):
        with passed_on(tell):
            every[file.path] = read_provenance(Path(file.path))
    for file in (*expected, *shown):
        if file.path not in every:
            continue
        with passed_on(tell):
            check_settings(file.path, every[file.path].settings, file.settings)
            check_code_of(file.path, every[file.path].code, file.modules)
    for file in expected:
        if file.path in every and file.checkpoints:
            with passed_on(tell):
                check_checkpoints(file.path, every[file.path], file.checkpoints, results)
    check_logs(config, results, tell)
    hashed, not_hashed = check_inputs(every, results, limit, tell)
    found = [every[file.path] for file in expected if file.path in every]
    libraries = sorted({name for one in found for name in one.versions})
    return Findings(
        files=len(found),
        commits=Counter(one.git_commit for one in found),
        devices=Counter(one.device for one in found),
        precisions=Counter(one.fp32_precision for one in found),
        versions={name: Counter(one.versions[name] for one in found if name in one.versions) for name in libraries},
        hashed=hashed,
        not_hashed=not_hashed,
    )


def check_logs(config: Config, results: Path, tell: Tell = stop) -> None:
    """Check every training log against the digest of it in the state that its segment ended with, where that is there.

    Raises:
        UserError: what `tell` raises of the lines about those that are missing or were changed.
    """
    for log, state in logs_with_states(config, results):
        if state.is_file():
            with passed_on(tell):
                check_log(log, state)


def logs_with_states(config: Config, results: Path) -> Iterator[tuple[Path, Path]]:
    """The training log of every segment of every run, and the state that the segment ended with."""
    for run in all_runs(config):
        for start, end in segments(settings.training_of_run(config, run)):
            log = Path(run.training_log(str(results), start))
            yield log, log.with_name("state") / f"update{end}.safetensors"


def check_log(log: Path, state: Path) -> None:
    """Check one training log; errors of `check_logs`."""
    try:
        expected = sealed_metadata(state).get(LOG)
    except (OSError, ValueError, KeyError) as error:
        raise FileFaultError(state, f"damaged ({error})", REMEDY) from error
    if not log.is_file():
        raise UserError(f"{log}: missing, expected the log of the training that ended in {state.name}; run again")
    if sha256_of(log) != expected:
        raise UserError(f"{log}: changed since it was made, expected the rows of {state.name}'s digest; {REMEDY}")


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


def check_code(path: str, found: str, expected: str) -> None:
    """UserError unless a file was made by the code that would make it now, see `Provenance.code`."""
    if found != expected:
        raise UserError(
            f"{path}: made by other code than the present one ({found or 'it does not say which'}), expected "
            f"{expected}; the report would mix versions of the code; {REMEDY}"
        )


def check_checkpoints(path: str, provenance: Provenance, expected: Set[Path], results: Path) -> None:
    """UserError unless a file that was made from checkpoints was made from those of its own run that it should be."""
    found = {Path(below(results, name)) for name in provenance.inputs if name.endswith(".safetensors")}
    if found and found != expected:
        other = min(found ^ expected)
        what = f"made from {other}" if other in found else f"not made from {other}"
        raise UserError(f"{path}: {what}, expected the {len(expected)} checkpoints of its run, no others; {REMEDY}")


def check_inputs(
    files: Mapping[str, Provenance],
    results: Path,
    limit: int = HASHED_BYTES,
    tell: Tell = stop,
    remedy: str = REMEDY,
) -> tuple[int, int]:
    """Check that the inputs of files are those that are there now.

    Inputs that were deleted since are passed over. All others that carry a seal must carry the one that was recorded.
    And smallest first, as many are read and compared with their digests as have no more than `limit` bytes together.

    Args:
        files: path -> what the file says of itself.
        results: folder of the study.
        limit: bytes.
        tell: is given every fault, a line about a file that was made from another version of an input.
        remedy: what the line says to do.

    Returns:
        Number of inputs that were read, and number of those that were not.

    Raises:
        UserError: what `tell` raises.
    """
    recorded: dict[Path, tuple[str, str]] = {}  # input -> its digest, and the first file that was made from it
    for path, provenance in files.items():
        for name, digest in provenance.inputs.items():
            known, first = recorded.setdefault(Path(below(results, name)), (digest, path))
            if known != digest:
                tell(UserError(f"{path}: made from another {name} than {first}; expected the same one; {remedy}"))
    present = sorted((path.stat().st_size, path) for path in recorded if path.is_file())
    total = hashed = 0
    for size, file in present:
        total += size
        digest, path = recorded[file]
        found = digest_of(file) if total <= limit else carried_seal(file)
        if found is not None and found != digest:
            tell(UserError(f"{path}: made from another {file} than the one that is there now; {remedy}"))
        if total <= limit:
            with passed_on(tell):
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
    if file.suffix in HDF5_SUFFIXES:
        check_content(file)
    elif file.suffix == ".parquet":
        check_table(file)
    else:
        try:
            check_tensor_bytes(file)
        except (OSError, SealError) as error:
            raise FileFaultError(file, f"damaged ({error})", REMEDY) from error
