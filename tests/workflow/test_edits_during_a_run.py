"""Code that is edited while a study runs makes no number: jobs to come leave with one line, and run once it is back."""

import subprocess
import time

import pytest

from tests.workflow.conftest import SNAKEMAKE

pytestmark = [pytest.mark.slow, pytest.mark.apart, pytest.mark.one_in(3)]

RUNS = [f"results/miniature/runs/digits/cnn/half_random/rm3/full/seed{seed}" for seed in (0, 1)]
TARGETS = [f"{run}/checkpoints/step6.safetensors" for run in RUNS]


@pytest.mark.parametrize("copies", [False, True], ids=["fresh processes", "copies"])
def test_an_edit_between_two_jobs_is_refused_and_taken_back_leaves_the_right_numbers(finished, study_copy, copies):
    folder = study_copy.folder
    with (folder / "miniature.yaml").open("a") as config:
        config.write(f"operational: {{fork_jobs: {str(copies).lower()}}}\n")
    made = [folder / target for target in TARGETS]
    optimizer = folder / "mcoherence/optim/rm3.py"
    source = optimizer.read_text()
    for _ in range(5):
        for path in made:
            path.unlink(missing_ok=True)
        snakemake = subprocess.Popen(
            [str(SNAKEMAKE), "--configfile", "miniature.yaml", "--cores", "1", "--quiet", "reason", "--", *TARGETS],
            cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        while not any(path.exists() for path in made) and snakemake.poll() is None:
            time.sleep(0.01)
        optimizer.write_text(source + "\nUNUSED = 1\n")
        said, _ = snakemake.communicate()
        optimizer.write_text(source)
        if not all(path.exists() for path in made):  # else this process was asleep while the second job began
            break
    assert snakemake.returncode != 0, said
    assert "error: mcoherence.optim.rm3: edited since the study started; " in said
    assert sum(path.exists() for path in made) == 1
    answer = study_copy.run("--cores", "1", "--quiet", "reason", "--", *TARGETS)
    assert answer.returncode == 0, answer.stdout
    for path, target in zip(made, TARGETS, strict=True):
        assert path.read_bytes() == (finished.folder / target).read_bytes()
