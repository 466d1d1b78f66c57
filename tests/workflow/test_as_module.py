"""The workflow as a module of another one: the import that the documentation shows, and a second study beside it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, SNAKEMAKE

pytestmark = [pytest.mark.slow, pytest.mark.one_in(3)]

# Another study, whose config is none of the importing workflow's; the toy trains no networks.
SECOND = """
module second:
    snakefile: "path/to/a/clone/Snakefile"
    config: config | {"study": "second", "experiments": ["toy"]}


use rule * from second as second_*


rule both:
    input: "mine.txt", "results/second/figures/toy_regression.png"
"""


def documented(language: str) -> str:
    """The block of code in this language of the section about modules in docs/studies.md."""
    section = (
        (ROOT / "docs/studies.md").read_text().partition("## As part of another workflow")[2].partition("\n## ")[0]
    )
    [block] = re.findall(rf"^```{language}\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    return block


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Snakemake in the folder of the workflow that imports this one."""
    environment = os.environ | {"PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}
    return subprocess.run(
        [str(SNAKEMAKE), "--cores", "2", "--quiet", "reason", *arguments],
        cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip


def test_the_documented_import_plans_trains_and_reports_its_study_and_a_second_one_makes_its_figure(tmp_path: Path):
    importer = (documented("python") + SECOND).replace("path/to/a/clone", str(ROOT))
    (tmp_path / "Snakefile").write_text(importer)
    (tmp_path / "study.yaml").write_text(documented("yaml"))
    answer = snakemake(tmp_path, "--", "both")
    assert answer.returncode == 0, answer.stdout[-3000:]
    assert "coherence_train" in answer.stdout
    assert "second_tabulate" in answer.stdout
    assert int((tmp_path / "mine.txt").read_text()) > 1
    assert len(list((tmp_path / "results/imported/runs").rglob("coherence.h5"))) == 2
    logs = [path.read_text() for path in (tmp_path / "results").rglob("logs/**/*.log")]
    assert len(logs) > 10
    assert not [text for text in logs if "this job is no copy" in text]
    assert list((tmp_path / "results/imported/logs").rglob("*.log.peak_mb"))
    assert "training_curves.png" in (tmp_path / "results/imported/report.html").read_text()
    assert (tmp_path / "results/second/figures/toy_regression.png").stat().st_size > 0
    assert "Nothing to be done" in snakemake(tmp_path, "--dry-run", "--", "both").stdout
