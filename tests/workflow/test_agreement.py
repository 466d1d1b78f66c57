"""For every study: the jobs of the rules, the files that the report checks and the jobs of the plan are the same."""

import re
from collections import Counter
from pathlib import Path

import pytest
from snakemake.utils import validate

from mcoherence.audit.plan import jobs_of, stages_of
from mcoherence.audit.result_checks import result_files
from mcoherence.study.config_files import study_config
from mcoherence.study.results import result
from workflow_scripts.why import planned_rows

ROOT = Path(__file__).parents[2]
STUDIES = sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))


def config_of(study):
    """The config of a study with its defaults, as Snakemake makes it."""
    config = dict(study_config(ROOT / "config.yaml", [ROOT / f"studies/{study}.yaml"], {}).config)
    validate(config, str(ROOT / "schemas/config.schema.json"))
    return config


def stage_of(job):
    """The stage of the plan that a job belongs to; None for what the plan counts as minutes."""
    if job["rule"].startswith("train"):
        return "train"
    part = re.search(r"/parts/(\w+)/", job["output"][0])
    made = part or re.fullmatch(r".*/runs/.*/(\w+)\.h5", job["output"][0])
    return result(made[1]).stage if made else None


@pytest.mark.parametrize("study", STUDIES)
def test_rules_checks_and_plan_agree(study, tmp_path, monkeypatch):
    config = config_of(study)
    monkeypatch.chdir(tmp_path)
    jobs = planned_rows(["--configfile", str(ROOT / f"studies/{study}.yaml")])

    made = {file for job in jobs for file in job["output"] if "/parts/" not in file}
    kept = {file for file in made if file.endswith((".h5", ".safetensors")) and "/state/" not in file}
    assert kept == result_files(config).keys()

    of_rules = Counter(stage for job in jobs if (stage := stage_of(job)))
    of_plan = {stage: sum(jobs_of(config, *one) for one in runs) for stage, runs in stages_of(config).items() if runs}
    assert of_rules == of_plan
    assert not (tmp_path / "results").exists()
