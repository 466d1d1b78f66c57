"""Jobs on the processor that import much start as copies of one process; that changes their time and nothing else."""

import shutil
from pathlib import Path

import pytest

from mcoherence.audit.job_records import read_record

pytestmark = [pytest.mark.apart, pytest.mark.one_in(3)]
COPIED = ("train", "evaluate", "measure_", "tabulate", "draw_", "check_claims", "describe_study")
RUN = "results/miniature/runs/digits/cnn/half_random/rm3/full/seed1"
RESULTS = (f"{RUN}/evaluation.h5", f"{RUN}/coherence.h5", f"{RUN}/contributions.h5")


def records(workflow):
    """Name and record of every job that may be a copy."""
    folder = workflow.results / "benchmarks"
    jobs = [path.relative_to(folder).with_suffix("") for path in folder.rglob("*.tsv")]
    return {job: read_record(workflow.results, job) for job in jobs if job.parts[0].startswith(COPIED)}


def run_files(workflow):
    """Every file of the run with its bytes."""
    folder = workflow.folder / RUN
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_jobs_of_a_local_study_are_copies_whose_memory_is_known(study):
    of_copies = records(study)
    assert {next(name for name in COPIED if job.parts[0].startswith(name)) for job in of_copies} == set(COPIED)
    assert not [log for log in (study.results / "logs").rglob("*.log") if "is no copy" in log.read_text()]
    assert all(record.is_copy for record in of_copies.values())
    assert all(100 < record.peak_mb < 10_000 for record in of_copies.values())  # with torch in each
    assert "<td>evaluate</td>" in (study.results / "study.html").read_text()


def test_a_run_made_again_by_jobs_that_are_none_has_the_same_bytes_and_makes_nothing_else_run(study_copy):
    """Copies make a run again in test_operational_code, to the same numbers."""
    before = run_files(study_copy)
    # checkpoints; states and logs of two segments; evaluation, coherence and contributions
    assert len(before) == 7 + 2 + 2 + 3
    shutil.rmtree(study_copy.folder / RUN)
    with (study_copy.folder / "miniature.yaml").open("a") as config:
        config.write("\noperational: {fork_jobs: false}\n")
    answer = study_copy.run("--cores", "2", "--quiet", "reason", "--", *RESULTS)
    assert answer.returncode == 0, answer.stdout[-5000:]
    run = Path(RUN.partition("/runs/")[2])
    started = [record for job, record in records(study_copy).items() if job.is_relative_to(job.parts[0] / run)]
    assert len(started) == 2 + 3
    assert not any(record.is_copy for record in started)
    assert run_files(study_copy) == before
    assert study_copy.planned() == {}


def test_nor_does_a_table_or_a_figure_depend_on_it(study):
    names = (
        "tables/accuracy.csv",
        "tables/accuracy.parquet",
        "figures/training_curves.png",
        "figures/training_curves.pdf",
    )
    paths = [study.results / name for name in names]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    config = study.folder / "miniature.yaml"
    text = config.read_text()
    config.write_text(f"{text}\noperational: {{fork_jobs: false}}\n")
    answer = study.run("--cores", "2", "--", str(paths[2].relative_to(study.folder)))
    config.write_text(text)
    assert answer.returncode == 0, answer.stdout[-5000:]
    jobs = records(study)
    assert not any(jobs[Path(job)].is_copy for job in ("tabulate/accuracy", "draw_training_curves"))
    assert [path.read_bytes() for path in paths] == before
    assert study.planned() == {}
