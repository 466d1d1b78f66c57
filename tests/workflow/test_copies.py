"""Jobs that compute on the processor start as copies of one process; that changes their time and nothing else."""

from mcoherence.audit.job_records import read_record

COMPUTING = ("train", "evaluate", "measure_")
RUN = "results/miniature/runs/digits/cnn/half_random/rm3/full/seed1"
RESULTS = (f"{RUN}/evaluation.h5", f"{RUN}/coherence.h5", f"{RUN}/contributions.h5")


def records(workflow):
    """Name and record of every job that computes."""
    folder = workflow.results / "benchmarks"
    jobs = [path.relative_to(folder).with_suffix("") for path in folder.rglob("*.tsv")]
    return {job: read_record(workflow.results, job) for job in jobs if job.parts[0].startswith(COMPUTING)}


def run_files(workflow):
    """Every file of the run, the hidden ones and what a killed trainer would go on from left out, with its bytes."""
    folder = workflow.folder / RUN
    paths = [*folder.glob("*.h5"), *folder.glob("*.csv"), *folder.glob("*/*.safetensors")]
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def test_jobs_of_a_local_study_are_copies_whose_memory_is_known(study):
    of_copies = records(study)
    assert len(of_copies) > 20
    assert all(record.is_copy for record in of_copies.values())
    assert all(100 < record.peak_mb < 10_000 for record in of_copies.values())  # with torch in each
    assert "<td>evaluate</td>" in (study.results / "study.html").read_text()


def test_jobs_that_are_none_give_the_same_bytes(study, workflow_copy):
    with (workflow_copy.folder / "miniature.yaml").open("a") as config:
        config.write("\noperational: {fork_jobs: false}\n")
    answer = workflow_copy.run("--cores", "2", "--", *RESULTS)
    assert answer.returncode == 0, answer.stdout[-5000:]
    started = records(workflow_copy)
    assert len(started) >= 4
    assert not any(record.is_copy for record in started.values())
    assert len(run_files(study)) > 10
    assert run_files(workflow_copy) == run_files(study)
