"""Verify result files, or a whole study: schemas, digests, seals, settings, and what each was made from.

  mcoherence verify coherence.h5
  mcoherence verify results/digits

Says one line and ends with status 0 where all is as it was written; else one line per fault, and status 1.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcoherence.errors import UserError, first_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
REMEDY = "delete the file and run again"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("path", metavar="FILE|FOLDER", type=Path)
    parser.add_argument(
        "--code", action="store_true", help="of a study: ask besides that the code in this checkout made every file"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the faults, or what was verified."""
    path: Path = arguments.path
    if not path.exists():
        raise UserError(f"{path}: not found, expected a result file or a folder of some; look at the path")
    faults: dict[str, None] = {}  # each line once, in order

    def tell(fault: UserError) -> None:
        faults[str(fault)] = None

    if arguments.code and not (ROOT / "workflow_scripts").is_dir():
        raise UserError("--code: found the library alone, expected a checkout of the study's code; run it from there")
    if is_study(path):
        good = verify_study(path, arguments.code, tell)
    elif arguments.code:
        raise UserError(f"--code: found {path}, expected the folder of a study; leave --code out")
    elif path.is_dir():
        good = _verify_folder(path, tell)
    else:
        good = _verify_files([path], tell)
    print("\n".join(faults) or f"{path}: {good}")
    return 1 if faults else 0


def is_study(path: Path) -> bool:
    """Whether a path is the folder of a study, finished or not."""
    return path.is_dir() and ((path / "config.json").is_file() or (path / "runs").is_dir())


# One file


def _verify_folder(folder: Path, tell: Callable[[UserError], None]) -> str:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and _reader(file) is not None)
    if not files:
        raise UserError(f"{folder}: found no result file in it, expected some; look at the path")
    return _verify_files(files, tell)


def _verify_files(files: list[Path], tell: Callable[[UserError], None]) -> str:
    """Verify files one by one; returns what was verified, in words."""
    from mcoherence.audit.origins import read_provenance
    from mcoherence.audit.result_checks import check_inputs
    from mcoherence.audit.shown_checks import passed_on

    compared = absent = 0
    for file in files:
        check = _reader(file)
        if check is None:
            raise UserError(
                f"{file}: found a file that carries no seal of this project, expected .h5, .safetensors, .parquet, "
                ".png, claims.json or study.html"
            )
        with passed_on(tell):
            check(file)
            origin = read_provenance(file)
            hashed, _ = check_inputs({str(file): origin}, _place_of_inputs(file, origin.inputs), 2**63, tell)
            hashed += _check_named_data(file, origin.settings, origin.inputs)
            compared, absent = compared + hashed, absent + len(origin.inputs) - hashed
    inputs = f"{compared} inputs as they were" + (f", {absent} no longer here to compare" if absent else "")
    return f"{len(files)} {'file' if len(files) == 1 else 'files'} as written; {inputs}"


def _reader(file: Path) -> Callable[[Path], Any] | None:
    """What checks a file by itself; None for a kind that carries no seal."""
    if file.name == "study.html":
        return _check_page
    if file.name == "claims.json":
        return _check_claims
    checks = {".h5": _check_hdf5, ".safetensors": _check_tensors, ".parquet": _check_table, ".png": _check_picture}
    return checks.get(file.suffix)


def _check_hdf5(path: Path) -> None:
    from mcoherence.files.hdf5 import check_content, read_attributes
    from mcoherence.files.layouts import LAYOUTS

    check_content(path)
    schema = read_attributes(path)["schema"]
    if schema not in LAYOUTS:
        raise UserError(f"{path}: found schema {schema}, which this version does not know; {REMEDY}")


def _check_tensors(path: Path) -> None:
    from mcoherence.files.seals import SealError, check_tensor_bytes

    try:
        check_tensor_bytes(path)
    except (OSError, SealError, ValueError, KeyError) as error:
        raise UserError(f"{path}: damaged ({first_line(error)}); {REMEDY}") from error


def _check_table(path: Path) -> None:
    from mcoherence.files.tables import check_table

    check_table(path)


def _check_picture(path: Path) -> None:
    from mcoherence.files.pictures import check_picture

    check_picture(path, path.with_suffix(".pdf"))


def _check_claims(path: Path) -> None:
    from mcoherence.claims.stored import read_claims

    read_claims(path, path.with_suffix(".html"))


def _check_page(path: Path) -> None:
    from mcoherence.files.page import check_page

    check_page(path, [path.with_name("config.json"), path.parent / "tables/dictionary.csv"], REMEDY)


def _place_of_inputs(file: Path, inputs: Iterable[str]) -> Path:
    """The folder in which inputs are looked for that were made in "results/NAME": the study that the file lies in.

    Of a file that lies in none it is that very folder, below the working directory.
    """
    study = next((folder for folder in file.absolute().parents if is_study(folder)), None)
    made_in = next((Path(name).parts[:2] for name in inputs if Path(name).parts[:1] == ("results",)), ("results",))
    return study or Path(*made_in)


def _check_named_data(file: Path, settings: Any, inputs: Any) -> int:
    """Compare the images of a folder that `measure` read, where it is there; the number of folders compared."""
    data = settings.get("data", {}) if isinstance(settings, dict) else {}
    folder = Path(str(data.get("name", "")))
    if data.get("kind") != "folder" or not folder.is_dir():
        return 0
    from mcoherence.data.named_data import ImagesOfFolder

    positions = _measured_positions(file)
    if positions is None:
        return 0
    images = ImagesOfFolder(folder, data["part"], class_names=data["class_names"])
    if positions.max(initial=-1) >= len(images) or images.digests(positions)[str(folder)] != inputs.get(str(folder)):
        raise UserError(f"{file}: made from other images of {folder} than are there now; measure again")
    return 1


def _measured_positions(file: Path) -> "NDArray[np.int64] | None":
    """The places in the data of the examples that a coherence file, a shard of one or a table of examples is of."""
    if file.suffix == ".parquet":
        from mcoherence.files.tables import read_table

        table = read_table(file)
        return table["index"].to_numpy() if "index" in table else None
    if file.suffix != ".h5":
        return None
    from mcoherence.files.hdf5 import open_hdf5, read_attributes

    with open_hdf5(file, str(read_attributes(file)["schema"])) as opened:
        positions: NDArray[np.int64] = opened["sample/index"][:]
        return positions


# A study


def verify_study(folder: Path, code: bool, tell: Callable[[UserError], None]) -> str:
    """Verify every file of a finished study, against its config and one another.

    Args:
        folder: of the study, wherever it lies.
        code: whether the present code must have made every file; else any one version of it.
        tell: is given every fault.

    Returns:
        What was verified, in words.
    """
    from mcoherence.audit.result_checks import (
        check_bytes,
        check_results,
        expected_files,
        logs_with_states,
        one_code,
        present_code,
    )
    from mcoherence.audit.shown_checks import check_shown, passed_on
    from mcoherence.files.progress import progress
    from mcoherence.study.catalogue import figures_of, tables_of
    from mcoherence.study.runs import table_file

    beside = [folder / "config.json", folder / "tables/dictionary.csv"]
    config = _config_of(folder)
    tables = [Path(table_file(str(folder), name)) for name in tables_of(config)]
    figures = [folder / f"figures/{name}.png" for name in figures_of(config)]
    check_shown(figures, tables, folder / "claims.json", folder / "study.html", beside, tell)
    made_by = present_code(ROOT) if code else one_code()
    faulty: list[str] = []

    def tell_and_note(fault: UserError) -> None:
        faulty.append(str(fault))
        tell(fault)

    findings = check_results(config, folder, made_by, tell_and_note, limit=0)
    states = [state for _, state in logs_with_states(config, folder) if state.is_file()]
    files = [*(Path(file.path) for file in expected_files(config, folder)), *states]
    for file in progress(files, len(files), "read"):
        if file.is_file() and not any(line.startswith(f"{file}: ") for line in faulty):
            with passed_on(tell):
                check_bytes(file)
    count = len(files) + 2 * len(tables) + 2 * len(figures) + 4
    commits = ", ".join(commit[:12] for commit in findings.commits)
    return f"{count} files as written and as config.json asks, made by {commits}"


def _config_of(folder: Path) -> dict[str, Any]:
    """The config that the study says it has."""
    path = folder / "config.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {"experiments": found["experiments"], **found}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: missing or damaged ({first_line(error)}), expected the config of a finished study; run the study "
            "to its end, or name single files"
        ) from error
