"""Verify result files, or whole studies: schemas, digests, seals, settings, and what each was made from.

  mcoherence verify coherence.h5
  mcoherence verify results/digits
  mcoherence verify results

Says one line and ends with status 0 where all is as it was written; else one line per fault, and status 1. Of a folder
it verifies every study below it and every file of this project's beside them; files of other programs are named.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcoherence.command.option_types import path_of
from mcoherence.errors import UserError, first_line, with_kind
from mcoherence.files.faults import REMEDY, FileFaultError
from mcoherence.files.whose import HDF5_SUFFIXES, in_truth, sealed_form, unreadable, whose

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcoherence.files.provenance import Provenance

ROOT = Path(__file__).parents[2]
CHANGED = "bring back the one that was there, or measure again"
OF_A_RUN = "runs/*/*/*/*/*/seed*"  # below the folder of a study
MOST_NAMED = 3  # files of other programs that are named before the rest is counted


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("path", metavar="FILE|FOLDER", type=path_of, help="a result file, a study, or a folder of some")
    parser.add_argument(
        "--code", action="store_true", help="of a study: ask besides that the code in this checkout made every file"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the faults, or what was verified."""
    from mcoherence.audit.shown_checks import passed_on

    path: Path = arguments.path
    if not path.exists():
        raise UserError(f"{path}: not found, expected a result file or a folder of some; look at the path")
    faults: dict[str, None] = {}  # each line once, in order

    def tell(fault: UserError) -> None:
        faults[in_truth(fault)] = None

    if arguments.code and not (ROOT / "workflow_scripts").is_dir():
        raise UserError("--code: found the library alone, expected a checkout of the study's code; run it from there")
    studies = list(_studies(path))
    if arguments.code and not studies:
        raise UserError(f"--code: found {path}, expected the folder of a study; leave --code out")
    good = []
    for study in studies:
        with passed_on(tell):
            good.append(f"{study}: {verify_study(study, arguments.code, tell)}")
    if path not in studies:
        files = list(_files_beside(path, studies)) if path.is_dir() else [path]
        verified, lines = _verify_files(path, files, tell)
        good += lines
        if not verified and not studies and not faults:
            raise UserError(
                f"{path}: found no results of a study in it, and no other files of mcoherence that can be verified, "
                "expected some; name the folder of a study, such as results/digits, or of files that a command wrote"
            )
    print("\n".join(faults or good))
    return 1 if faults else 0


def is_study(path: Path) -> bool:
    """Whether a path is the folder of a study, finished or not; other programs have a config.json and runs too."""
    config = path / "config.json"
    try:
        if config.is_file() and "experiments" in json.loads(config.read_text(encoding="utf-8")):
            return True
    except (OSError, ValueError, TypeError):  # damaged, so that nothing but what lies beside it says whose it is
        pass
    return (config.is_file() and (path / "study.html").is_file()) or any(path.glob(OF_A_RUN))


def _studies(path: Path) -> Iterator[Path]:
    """The folders of studies at or below a path, links left alone."""
    if not path.is_dir():
        return
    if is_study(path):
        yield path
        return
    for folder in _folders(path):
        yield from _studies(folder)


def _folders(path: Path) -> list[Path]:
    """The folders in a folder that are not hidden, in the order of their names."""
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.is_symlink() and one.name[0] != ".")


def _files_beside(path: Path, studies: list[Path]) -> Iterator[Path]:
    """The files at or below a folder whose names are those of result files, but for what is in studies."""
    if path in studies:
        return
    named = (one for one in path.iterdir() if one.is_file() and sealed_form(one) == one)
    yield from sorted(one for one in named if _reader(one) is not None)
    for folder in _folders(path):
        yield from _files_beside(folder, studies)


# Single files


@dataclass
class _Inputs:
    """What became of the inputs that files name: as they were, not there, and of functions, which are not called."""

    compared: int = 0
    absent: int = 0
    yielded: int = 0

    def in_words(self) -> str:
        if not (self.compared or self.absent or self.yielded):
            return "no inputs are named"
        said = [f"{self.compared} {'input as it was' if self.compared == 1 else 'inputs as they were'}"]
        said += [f"{self.absent} not found from here"] if self.absent else []
        said += [f"{self.yielded} that a function yielded, which is not called again"] if self.yielded else []
        return ", ".join(said)


def _verify_files(path: Path, files: list[Path], tell: Callable[[UserError], None]) -> tuple[int, list[str]]:
    """Verify files one by one; returns how many, and what was verified in words, of which `path` begins the first line.

    In a folder files of other programs are passed over and named, and so are copies of figures.
    """
    from mcoherence.audit.origins import NoOriginError, read_provenance
    from mcoherence.audit.shown_checks import passed_on

    inputs, silent, others, copies = _Inputs(), 0, list[Path](), list[Path]()
    for file in files:
        check = _reader(file)
        if check is None:
            raise UserError(
                f"{file}: found a file that carries no seal of this project, expected .h5, .safetensors, .parquet, "
                ".png, claims.json or study.html"
            )
        if file != path and unreadable(file) is None and whose(file) == "another's":
            others.append(file)
            continue
        if (figure := _copied_figure(sealed_form(file))) is not None:
            copies.append(file)
            if file == path:
                raise UserError(
                    f"{file}: found a copy of the figure {figure} as it was drawn, without its PDF or under another "
                    f"name, expected {figure}.png and {figure}.pdf beside it; give both these names, or draw it again"
                )
            continue
        with passed_on(tell):
            check(file)
            try:
                _count_inputs(sealed_form(file), read_provenance(sealed_form(file)), inputs, tell)
            except NoOriginError:
                silent += 1
    verified = len(files) - len(others) - len(copies)
    lines = []
    if verified:
        without = f", {silent} without a word of what made it" if silent else ""
        lines.append(
            f"{path}: {verified} {'file' if verified == 1 else 'files'} as written{without}; {inputs.in_words()}"
        )
    for kind, passed_over in (("of other programs", others), ("copies of figures without their PDF", copies)):
        if passed_over:
            more = f" and {len(passed_over) - MOST_NAMED} more" if len(passed_over) > MOST_NAMED else ""
            lines.append(f"{kind}, not verified: {', '.join(map(str, passed_over[:MOST_NAMED]))}{more}")
    return verified, lines


def _copied_figure(png: Path) -> str | None:
    """The figure that a whole PNG outside of any study is, where it lies under another name or without its PDF.

    It was taken along for a page or a talk. Nobody is to delete it, as a study's own would be to be drawn again.
    """
    from mcoherence.files.pictures import FIGURE, check_seal, texts_of

    if png.suffix != ".png" or not png.is_file() or unreadable(png) is not None:
        return None
    try:
        content = png.read_bytes()
        check_seal(content)
        figure = texts_of(content)[FIGURE]
    except (ValueError, LookupError):
        return None
    if figure == png.stem and png.with_suffix(".pdf").exists():
        return None
    return None if any(is_study(folder) for folder in png.absolute().parents) else figure


def _count_inputs(file: Path, origin: "Provenance", inputs: _Inputs, tell: Callable[[UserError], None]) -> None:
    """Compare the inputs of a file with what it says of them, and count."""
    from mcoherence.audit.result_checks import check_inputs

    yielded = sum(digest.startswith("batches:") for digest in origin.inputs.values())
    compared, _ = check_inputs({str(file): origin}, _place_of_inputs(file, origin.inputs), 2**63, tell, CHANGED)
    compared += _check_named_data(file, origin.settings, origin.inputs)
    inputs.compared += compared
    inputs.yielded += yielded
    inputs.absent += len(origin.inputs) - compared - yielded


def _reader(file: Path) -> Callable[[Path], Any] | None:
    """What checks a file by itself; None for a kind that carries no seal."""
    if file.name == "study.html":
        return _check_page
    if file.name == "claims.json":
        return _check_claims
    checks = {".safetensors": _check_tensors, ".parquet": _check_table, ".png": _check_picture}
    checks |= dict.fromkeys(HDF5_SUFFIXES, _check_hdf5)
    other_form = sealed_form(file)
    if other_form != file and other_form.is_file():
        return lambda _: checks[other_form.suffix](other_form)
    return checks.get(file.suffix)


def _check_hdf5(path: Path) -> None:
    from mcoherence.files.hdf5 import check_content, read_attributes
    from mcoherence.files.layouts import LAYOUTS

    check_content(path)
    schema = read_attributes(path)["schema"]
    if schema not in LAYOUTS:
        raise UserError(
            f"{path}: found schema {schema}, which this version does not know, expected one of its own; verify it by "
            "the version of mcoherence that wrote it"
        )


def _check_tensors(path: Path) -> None:
    from mcoherence.files.seals import SealError, check_tensor_bytes

    try:
        check_tensor_bytes(path)
    except (OSError, SealError, ValueError, KeyError) as error:
        raise FileFaultError(path, f"damaged ({first_line(error)})", REMEDY) from error


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
    try:
        images = ImagesOfFolder(folder, data["part"], class_names=data["class_names"])
    except UserError as error:
        raise UserError(f"{file}: made from images that are no longer as they were ({error}); measure again") from error
    if positions.max(initial=-1) >= len(images) or images.digests(positions)[str(folder)] != inputs.get(str(folder)):
        raise UserError(f"{file}: made from other images of {folder} than are there now; measure again")
    return 1


def _measured_positions(file: Path) -> "NDArray[np.int64] | None":
    """The places in the data of the examples that a coherence file, a shard of one or a table of examples is of."""
    if file.suffix == ".parquet":
        from mcoherence.files.tables import read_table

        table = read_table(file)
        return table["index"].to_numpy() if "index" in table else None
    if file.suffix not in HDF5_SUFFIXES:
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
    from mcoherence.audit.shown_checks import check_front_page, check_shown, passed_on
    from mcoherence.files.progress import progress
    from mcoherence.study.catalogue import figures_of, tables_of
    from mcoherence.study.runs import table_file

    beside = [folder / "config.json", folder / "tables/dictionary.csv"]
    config = _config_of(folder)
    try:
        tables = [Path(table_file(str(folder), name)) for name in tables_of(config)]
        figures = [folder / f"figures/{name}.png" for name in figures_of(config)]
        made = expected_files(config, folder)
    except (LookupError, TypeError, AttributeError, ValueError) as error:  # an edited file, or another program's
        raise UserError(
            f"{folder / 'config.json'}: found a config that no study of this version has ({with_kind(error)}), "
            "expected that of a finished study; run the study to its end, or name single files"
        ) from error
    check_shown(figures, tables, folder / "claims.json", folder / "study.html", beside, tell)
    if (folder / "index.html").exists():  # a study from before there was one is whole without
        check_front_page(folder, tell)
    made_by = present_code(ROOT) if code else one_code()
    faulty: list[str] = []

    def tell_and_note(fault: UserError) -> None:
        faulty.append(str(fault))
        tell(fault)

    findings = check_results(config, folder, made_by, tell_and_note, limit=0)
    states = [state for _, state in logs_with_states(config, folder) if state.is_file()]
    files = [*(Path(file.path) for file in made), *states]
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
