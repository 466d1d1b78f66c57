"""A wrong config gives one clear line that names the key, without a traceback, and nothing runs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.workflow.conftest import SNAKEMAKE

pytestmark = pytest.mark.apart
STUDY = Path(__file__).parents[1] / "digits_study.yaml"
CASES = [
    ("lr: 0.3}", "lr: fast}", "error: config: config.yaml: optimizers.sgd.lr: found 'fast'; expected a number"),
    ("seeds: [0, 1, 2, 3, 4]", "seed: [0, 1, 2, 3, 4]", "config: config.yaml: label_noise: found"),
    (
        "optimizers: [sgd, sgd_slow, m3, rm3]",
        "optimizers: [sgd, adam]",
        "error: config: config.yaml: label_noise.optimizers: found 'adam', expected an entry of optimizers",
    ),
    ("lr: 0.3}", "lr: .nan}", "error: config: config.yaml: optimizers.sgd.lr: found nan; expected a finite number"),
    ("updates: 840", "updates: 0840", "config.yaml, line 25: training.updates: found 0840, which YAML takes for octal"),
]


@pytest.mark.parametrize(("old", "new", "message"), CASES, ids=[case[2] for case in CASES])
def test_a_wrong_config_is_one_line(workflow_copy, old, new, message):
    text = STUDY.read_text()
    assert old in text
    (workflow_copy.folder / "config.yaml").write_text(text.replace(old, new, 1))
    is_refused(workflow_copy, "study: miniature\n", message)


def is_refused(workflow, own, message):
    """Whether a study of this own file is refused with this message, in one line, and nothing is made."""
    (workflow.folder / "miniature.yaml").write_text(own)
    answer = workflow.run("--dry-run", "--quiet", "all")
    assert answer.returncode == 1
    assert [line for line in answer.stdout.splitlines() if message in line], answer.stdout
    assert "Traceback" not in answer.stdout
    assert not (workflow.folder / "results").exists()


OWN = [
    ("device: cpu\n", "error: config: miniature.yaml: found no study, expected a name of its own"),
    (
        "study: a\ntraining: {updates: 0}\n",
        "error: config: miniature.yaml: training.updates: found 0; expected at least 1",
    ),
    ("study: a\nstudy: b\n", "error: config: miniature.yaml, line 2: study: found the key twice, in lines 1 and 2"),
]


@pytest.mark.parametrize(("own", "message"), OWN, ids=[message for _, message in OWN])
def test_so_is_a_wrong_file_of_a_study(workflow_copy, own, message):
    is_refused(workflow_copy, own, message)


def test_single_values_come_on_top_of_the_files(workflow_copy):
    answer = workflow_copy.run("--config", "study=single", "data_folder=elsewhere", "--summary")
    assert answer.returncode == 0, answer.stdout
    assert "results/single/data/digits/images.h5" in answer.stdout


def test_no_string_of_a_config_or_of_the_command_line_is_run_as_a_command(workflow_copy):
    """Resources may also be set on the command line, where nothing checks them: they are one word to the shell."""
    target = "results/miniature/data/digits/images.h5"
    string = "sparse$(touch pwned)`touch pwned`;touch pwned;'; touch pwned; '"
    answer = workflow_copy.run("--cores", "1", "--set-resources", f"prepare_dataset:download={string}", "--", target)
    assert answer.returncode == 1
    log = workflow_copy.results / "logs/prepare_dataset/digits.log"
    assert "usage: prepare_dataset" in log.read_text()  # the command was reached, and got it as it is
    assert not (workflow_copy.folder / "pwned").exists()
    settings = workflow_copy.folder / "miniature.yaml"
    settings.write_text(
        settings.read_text() + 'operational: {training_resources: {workers: "2 $(touch pwned)", slurm_extra: "$(x)"}}\n'
    )
    answer = workflow_copy.run("--dry-run", "--quiet", "all")
    assert answer.returncode == 1
    assert [
        line
        for line in answer.stdout.splitlines()
        if line.startswith("error: config: miniature.yaml: operational.training_resources.workers")
    ]
    assert not (workflow_copy.folder / "pwned").exists()


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0,
    reason="mounts of one's own take root",
)
@pytest.mark.parametrize("folder", ["results", "."])
def test_what_was_made_on_a_disk_that_is_read_only_now_is_one_line(workflow_copy, folder):
    """Of files that another config would make again, and of Snakemake's own folder."""
    images = "results/miniature/data/digits/images.h5"
    assert workflow_copy.run("--cores", "1", "--", images).returncode == 0
    other = "study: miniature\ndatasets: {digits: {source: digits, train_size: 720, seed: 7}}\n"
    (workflow_copy.folder / "other.yaml").write_text(other)
    changed = ["--configfile", "miniature.yaml", "other.yaml"]
    for options in (["--cores", "1"], ["--dry-run", "--quiet", "all"]):
        mounted = 'mount --bind $0 $0 && mount -o remount,ro,bind $0 && cd $PWD && exec "$@"'
        answer = subprocess.run(
            ["unshare", "--mount", "sh", "-c", mounted, folder, SNAKEMAKE, *options, *changed, "--", images],
            cwd=workflow_copy.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            env=os.environ | {"COLUMNS": "200"},
        )  # fmt: skip
        assert answer.returncode == 1
        (line,) = [line for line in answer.stdout.splitlines() if line.startswith("error: ")]
        assert "(Read-only file system), expected a disk that may be written to; mount it so, or work in" in line
        assert "Traceback" not in answer.stdout
        assert "Exception" not in answer.stdout
