"""Bits flipped and files cut in a finished study, in files of every kind that it has.

After each one, whoever reads the file refuses it in one line that names it, or nothing that is read has changed; never
a traceback, and never another number without a word. And a study some of whose files are damaged ends, once those that
are refused were made again, with the bytes of before.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mcoherence.audit.comparison import Job, misfit, told_by
from mcoherence.audit.origins import Origins, read_provenance, says_its_origin
from mcoherence.audit.page import run_times
from mcoherence.audit.result_checks import check_bytes, check_log
from mcoherence.audit.shown_checks import check_front_page
from mcoherence.audit.why import last_run, recorded_code
from mcoherence.claims.stored import read_claims
from mcoherence.errors import UserError
from mcoherence.files.digests import sha256_of
from mcoherence.files.hdf5 import check_content, open_hdf5, read_attributes, read_hdf5
from mcoherence.files.page import check_page
from mcoherence.files.pictures import check_picture
from mcoherence.files.tables import check_table, read_table
from mcoherence.models import load_checkpoint, read_checkpoint_metadata
from mcoherence.training.state import read_state
from tests.faults.bench import SAMPLE, Study, drawn, few
from tests.unit.files.test_flipped_bits import damaged, exact

pytestmark = [pytest.mark.slow, pytest.mark.sampled]

FLIPS = few(60, 6)  # of files of each kind


def read_h5(path: Path):
    check_content(path)
    schema = read_attributes(path)["schema"]
    with open_hdf5(path, schema) as file:
        first = {name: file[name][:1] for name in json.loads(file.attrs["contents"]) if file[name].ndim}
    return read_provenance(path), first, read_hdf5(path, schema)


def read_checkpoint(path: Path):
    check_bytes(path)
    return read_checkpoint_metadata(path), read_provenance(path), dict(load_checkpoint(path).state_dict())


def read_segment(path: Path):
    """A state, or the log of its segment."""
    run = path.parents[1] if path.suffix == ".safetensors" else path.parent
    states = sorted((run / "state").glob("*.safetensors"), key=lambda one: int(one.stem.removeprefix("update")))
    logs = sorted(run.glob("*.csv"), key=lambda one: int("0" + re.sub(r"\D", "", one.stem)))
    for log, state in zip(logs, states, strict=True):
        check_log(log, state)
    return [vars(read_state(state)) for state in states], [log.read_bytes() for log in logs]


def read_a_table(path: Path):
    table = path.with_suffix(".parquet")
    check_table(table)
    return read_table(table).to_csv(), read_provenance(table), table.with_suffix(".csv").read_bytes()


def read_a_figure(path: Path):
    png = path.with_suffix(".png")
    check_picture(png, png.with_suffix(".pdf"))
    return read_provenance(png), png.read_bytes(), png.with_suffix(".pdf").read_bytes()


def read_page_of_claims(path: Path):
    claims = path.with_suffix(".json")
    return read_claims(claims, claims.with_suffix(".html")), claims.with_suffix(".html").read_bytes()


def read_page(path: Path):
    results = next(parent for parent in path.parents if parent.name == "bench")
    beside = [results / "config.json", results / "tables/dictionary.csv"]
    check_page(results / "study.html", beside, "describe it again")
    return [one.read_bytes() for one in (results / "study.html", *beside)], read_provenance(results / "study.html")


def read_front_page(path: Path):
    check_front_page(path.parent)
    return path.read_bytes()


# Kind -> (which files are of it, what reads one of them as the commands do).
KINDS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "images": (r"data/.*/images\.h5", read_h5),
    "labels": (r".*/labels\.h5", read_h5),
    "split": (r".*/split\.h5", read_h5),
    "halves": (r".*/halves\.h5", read_h5),
    "difficulty": (r".*/difficulty\.h5", read_h5),
    "evaluation": (r"[^.]*/evaluation\.h5", read_h5),
    "coherence": (r"[^.]*/coherence(_m\d+)?\.h5", read_h5),
    "contributions": (r"[^.]*/contributions\.h5", read_h5),
    "difficulty coherence": (r"[^.]*/difficulty_coherence\.h5", read_h5),
    "confusion": (r"[^.]*/confusion\.h5", read_h5),
    "example scores": (r"[^.]*/example_scores\.h5", read_h5),
    "parts": (r".*/parts/.*\.h5", read_h5),
    "checkpoints": (r".*/checkpoints/.*", read_checkpoint),
    "states and logs": (r".*/state/update.*|runs/.*\.csv", read_segment),
    "tables": (r"tables/(?!dictionary).*", read_a_table),
    "figures": (r"figures/.*", read_a_figure),
    "claims": (r"claims\.(json|html)", read_page_of_claims),
    "front page": (r"index\.html", read_front_page),
    "page, config and dictionary": (r"study\.html|config\.json|tables/dictionary\.csv", read_page),
}
NOT_READ = r"logs/.*|benchmarks/.*|code/.*|checks/.*|report\.html|.*/cut_into_\d+_\d+|.*/state/lock|.*\.peak_mb"


def files_of(kind: str, results: Path) -> list[Path]:
    paths = sorted(path for path in results.rglob("*") if path.is_file())
    return [path for path in paths if re.fullmatch(KINDS[kind][0], str(path.relative_to(results)))]


def test_every_file_of_the_study_is_of_a_kind(whole):
    every = {path for path in whole.results.rglob("*") if path.is_file()}
    of_a_kind = {path for kind in KINDS for path in files_of(kind, whole.results)}
    assert SAMPLE or all(files_of(kind, whole.results) for kind in KINDS)
    others = {str(path.relative_to(whole.results)) for path in every - of_a_kind}
    assert {name for name in others if not re.fullmatch(NOT_READ, name)} == set()


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_one_line_that_names_it_or_reads_as_before(whole_copy, kind):
    draw, read = drawn(f"flips {kind}"), KINDS[kind][1]
    paths, expected = files_of(kind, whole_copy.results), {}
    if not paths:
        pytest.skip("the study of the sample has no such files")
    for _ in range(FLIPS):
        path = draw.choice(paths)
        content = path.read_bytes()
        if path not in expected:
            expected[path] = exact(read(path))
        path.write_bytes(damaged(content, draw))
        try:
            same, said = exact(read(path)) == expected[path], None
        except UserError as error:
            same, said = False, str(error)
        finally:
            path.write_bytes(content)
        assert same or said, f"{path} was read as if it were right"
        assert said is None or (path.name in said and "\n" not in said)


def test_damage_to_the_notes_of_earlier_starts_hides_nothing_and_ends_nothing(whole_copy, monkeypatch):
    """They keep what was read of the files; damaged, they cost time."""
    monkeypatch.chdir(whole_copy.folder)
    results = Path("results/bench")
    kept = results / "code/origins.json"
    paths = [str(path) for path in sorted(results.rglob("*")) if path.is_file() and says_its_origin(str(path))]
    paths = drawn("origins of").sample(paths, 12)
    kept.unlink(missing_ok=True)

    def answers():
        origins = Origins(kept)
        found = [(origins.of(path), origins.digest(path)) for path in paths]
        jobs = [Job("", [path], [], one.settings, one.code) for path, (one, _) in zip(paths, found, strict=True)]
        reasons = [misfit(job, one) for job in jobs for one in told_by(job, origins, results).values()]
        origins.keep()
        return found, reasons

    expected = answers()
    content, draw = kept.read_bytes(), drawn("origins")
    for _ in range(FLIPS):
        kept.write_bytes(damaged(content, draw))
        assert answers() == expected


def read_notes(study: Study) -> list[object]:
    """What `make why` and the page about a study read of the records of its jobs."""
    results, metadata = study.results, study.folder / ".snakemake/metadata"
    outputs = [str(path.relative_to(study.folder)) for path in sorted(results.glob("tables/*.parquet"))]
    runs = [last_run(output, metadata) for output in outputs]
    return [runs, [recorded_code(results / "code", run.digests) for run in runs if run], run_times(results)]


def test_damage_to_records_of_jobs_ends_nothing_or_is_one_line(whole_copy):
    """No number depends on them: a time that is another one is told, for all that is known."""
    draw, said = drawn("records"), []
    folders = [
        whole_copy.folder / ".snakemake/metadata",
        whole_copy.results / "code",
        whole_copy.results / "benchmarks",
    ]
    read_notes(whole_copy)
    for _ in range(FLIPS):
        path = draw.choice(sorted(path for path in draw.choice(folders).rglob("*") if path.is_file()))
        content = path.read_bytes()
        path.write_bytes(damaged(content, draw))
        try:
            read_notes(whole_copy)
        except UserError as error:
            said.append((path.name, str(error)))
        path.write_bytes(content)
    assert all(name in line and "\n" not in line for name, line in said), said


def damage_of_study(study: Study, number: int, draw) -> dict[Path, bytes]:
    """Damage done to so many files, each of another kind, half of which keep their time stamps; what they were.

    Besides, some of Snakemake's records and of the notes of earlier starts are damaged.
    """
    notes = [*(study.folder / ".snakemake/metadata").rglob("*"), *(study.results / "code").glob("*.json")]
    for path in draw.sample(sorted(path for path in notes if path.is_file()), number):
        path.write_bytes(damaged(path.read_bytes(), draw))
    kinds = draw.sample([kind for kind in KINDS if kind != "parts"], number)
    before = {}
    for kind in kinds:
        path = draw.choice(files_of(kind, study.results))
        before[path], stamp = path.read_bytes(), path.stat()
        path.write_bytes(damaged(before[path], draw))
        if draw.random() < 0.5:
            os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    return before


@pytest.mark.skipif(SAMPLE, reason="of test-faults: a minute")
@pytest.mark.parametrize("number", range(2))
def test_a_damaged_study_ends_with_the_bytes_of_before_once_what_is_refused_was_made_again(whole, whole_copy, number):
    before = whole.contents()
    damage = damage_of_study(whole_copy, 6, drawn(f"a damaged study {number}"))
    damage = {str(path.relative_to(whole_copy.folder)): content for path, content in damage.items()}
    for _ in damage:
        if whole_copy.run() == 0:
            break
        said = whole_copy.said()
        assert "Traceback" not in said
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        named = {name for name in damage for error in errors if name in error}
        assert named, errors
        for name in named:  # as the lines say, or from a back-up
            (whole_copy.folder / name).write_bytes(damage[name])
    after = whole_copy.contents()
    changed = {f"results/bench/{name}" for name in before if after.get(name) != before[name]}
    assert changed <= damage.keys()
    for name in changed:  # of which nothing was made, and which whoever reads it will refuse
        kind = next(kind for kind in KINDS if whole_copy.folder / name in files_of(kind, whole_copy.results))
        with pytest.raises(UserError):
            KINDS[kind][1](whole_copy.folder / name)
    assert sha256_of(whole_copy.results / "claims.json") == before["claims.json"]
