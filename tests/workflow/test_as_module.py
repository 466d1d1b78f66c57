"""The workflow as a module of another one: planned, trained and reported under a prefix, from a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import ROOT, SNAKEMAKE

pytestmark = pytest.mark.slow

IMPORTER = """
configfile: "study.yaml"


module coherence:
    snakefile: {snakefile!r}
    config: config


use rule * from coherence as coherence_*


rule everything:
    default_target: True
    input: rules.coherence_all.input
    output: "everything.done"
    shell: "touch {{output}}"
"""


def small_study():
    """The miniature study with two runs."""
    study = yaml.safe_load((ROOT / "tests/workflow/miniature.yaml").read_text())
    study |= {"study": "imported", "experiments": ["label_noise"]}
    study["label_noise"] |= {"labels": ["clean"], "optimizers": ["sgd"]}
    return study


def test_another_workflow_plans_trains_and_reports_a_study_under_a_prefix(tmp_path: Path):
    (tmp_path / "Snakefile").write_text(IMPORTER.format(snakefile=str(ROOT / "Snakefile")))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(small_study()))
    answer = subprocess.run(
        [str(SNAKEMAKE), "--cores", "2", "--quiet", "reason"],
        cwd=tmp_path, text=True, capture_output=True, check=False,
        env=os.environ | {"PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert "coherence_train" in answer.stderr
    assert (tmp_path / "everything.done").exists()
    assert (tmp_path / "results/imported/report.html").exists()
    assert len(list((tmp_path / "results/imported/runs").rglob("coherence.h5"))) == 2
    again = subprocess.run(
        [str(SNAKEMAKE), "--dry-run", "--quiet", "reason"], cwd=tmp_path, text=True, capture_output=True, check=False
    )
    assert "Nothing to be done" in again.stdout + again.stderr
