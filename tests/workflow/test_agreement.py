"""For every study: it is valid, it can be planned without its data, the plans agree, and its jobs fit on a node.

Plans are the jobs of the rules, the files that the report checks and the jobs that the plan counts. The node is that of
the profile for SLURM.
"""

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from snakemake.utils import validate

from mcoherence.audit.plan import jobs_of, stages_of
from mcoherence.audit.result_checks import result_files
from mcoherence.study.catalogue import all_runs, with_entries_made
from mcoherence.study.checks import check_references
from mcoherence.study.config_files import study_config
from mcoherence.study.results import result
from mcoherence.study.schema_checks import check_config
from workflow_scripts.why import planned_rows

ROOT = Path(__file__).parents[2]
DEFAULT = "config"  # the study of config.yaml
STUDIES = [DEFAULT, *sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))]
PROFILE = ROOT / "profiles/slurm"
ASKING = str(Path(__file__).with_name("asking_snakemake.py"))
SCHEMA = ROOT / "schemas/config.schema.json"
SEEDS = {"seeds", "reference_seeds"}
MANY_RUNS = 80  # which a plan takes long for
# The plans of these alone would take a minute: fewer networks, label sets and methods are the same jobs.
SMALLER = {
    "imagenet": {
        "label_noise": {
            "models": ["resnet18"], "labels": ["clean", "half_random"],
            "further": [
                {"datasets": ["imagenet_299"], "models": ["inception_v3"], "labels": ["clean"]},
                {"labels": ["half_random"], "optimizers": ["sgd_momentum", "rm3"]},
            ],
        }
    },
    "cifar10": {
        "label_noise": {
            "models": ["resnet18"], "labels": ["clean", "half_random"], "optimizers": ["sgd", "rm3"],
            "further": [
                {"models": ["alexnet"], "optimizers": ["sgd"]},
                {"labels": ["half_random"], "optimizers": ["m3_successive"]},
            ],
        }
    },
    "median_scale": {
        "median_scale": {
            "datasets": ["digits"], "models": ["mlp"], "optimizers": ["sgd", "m3"], "rates": [1, 3],
            "batches": [{"batch_size": 30, "updates": 9}], "tuning_seeds": [100],
        }
    },
    "width_depth_digits": {
        "sweep": {"models": {"width": ["width_32", "width_128"], "depth": ["depth_1", "width_128"]}},
        "confusion": {"models": ["plain_16_2", "skip_64_4"]},
    },
    "label_errors": {"label_errors": {"datasets": ["digits"], "labels": ["symmetric_10", "pair_10"]}},
}  # fmt: skip


def config_of(*files):
    """The config of a study with its defaults, as Snakemake makes it from its own files."""
    study = study_config(ROOT / "config.yaml", files, {})
    config = dict(study.config)
    check_config(config, json.loads(SCHEMA.read_text()))
    validate(config, str(SCHEMA))
    config = with_entries_made(config)
    check_references(config, study.own)
    return config


def first_seeds(config):
    """The first two of each list of seeds, by section; the first alone in a study of many runs.

    A seed more is the same jobs once more. Every experiment of a large study is made with two seeds in a small one.
    """
    number = 1 if len(all_runs(config)) > MANY_RUNS else 2
    sections = {name: section for name, section in config.items() if isinstance(section, dict)}
    return {name: {key: own[key][:number] for key in SEEDS & own.keys()} for name, own in sections.items()}


def stage_of(job):
    """The stage of the plan that a job belongs to; None for what the plan counts as minutes."""
    if job["rule"].startswith("train"):
        return "train"
    part = re.search(r"/parts/(\w+)/", job["output"][0])
    made = part or re.fullmatch(r".*/runs/.*/(\w+)\.h5", job["output"][0])
    return result(made[1]).stage if made else None


def files_of(study, folder):
    """The files of a study, as it is planned here."""
    smaller = folder / "smaller.yaml"
    smaller.write_text(yaml.safe_dump(SMALLER.get(study, {})))
    whole = ROOT / ("config.yaml" if study == DEFAULT else f"studies/{study}.yaml")
    return [whole, *([smaller] if study in SMALLER else [])]


def node_of_profile():
    """Cores, MB and minutes that a job may ask for at most, as the profile for SLURM says."""
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    assert profile["max-threads"] == profile["cores"]  # Snakemake in a job knows this one alone
    resources = dict(each.split("=") for each in profile["resources"])
    return {
        "cores": profile["cores"], "mem_mb": int(resources["mem_mb"]), "runtime": int(resources["most_minutes"])
    }  # fmt: skip


def test_the_documentation_shows_the_node_of_the_profile():
    [shown] = re.findall(r"^   ```yaml\n(   cores:.*?)   ```", (ROOT / "docs/cluster.md").read_text(), re.M | re.S)
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    assert yaml.safe_load(dedent(shown)).items() <= profile.items()


def check_what_is_asked(lines):
    """Nothing is asked for that a node lacks, at any try, and each try has as much again of memory and time as fits."""
    node = node_of_profile()
    for line in lines:
        rules, tries = line["rules"], line["tries"]
        assert all(each[name] <= node[name] for each in tries for name in node), line
        if len(rules) == 1:
            for name in ("mem_mb", "runtime"):
                grown = [min(number * tries[0][name], node[name]) for number in (1, 2, 3, 4)]
                assert [each[name] for each in tries] == grown, line
        else:
            assert set(rules) == {"tabulate"}
            assert all(
                more["mem_mb"] * more["runtime"] > one["mem_mb"] * one["runtime"] for one, more in pairwise(tries)
            )


def test_each_experiment_is_planned_with_two_seeds(tmp_path):
    configs = [config_of(*files_of(study, tmp_path)) for study in STUDIES]
    large, small = (
        {name for config in configs if (len(all_runs(config)) > MANY_RUNS) == many for name in config["experiments"]}
        for many in (True, False)
    )
    assert large <= small


@pytest.mark.one_in(4)
@pytest.mark.parametrize("study", STUDIES)
def test_a_study_is_valid_its_rules_checks_and_plan_agree_and_its_jobs_fit(study, tmp_path, monkeypatch):
    config_of(*files_of(study, tmp_path)[:1])  # valid as it is
    of_study, fewer = files_of(study, tmp_path), tmp_path / "fewer.yaml"
    whole = config_of(*of_study)
    fewer.write_text(yaml.safe_dump({name: seeds for name, seeds in first_seeds(whole).items() if seeds}))
    config = config_of(*of_study, fewer)
    monkeypatch.chdir(tmp_path)
    asked = tmp_path / "asked.jsonl"
    arguments = ["--workflow-profile", str(PROFILE), "--configfile", *map(str, of_study), str(fewer)]
    jobs = planned_rows(arguments, snakemake=[ASKING, str(asked)])
    check_what_is_asked([json.loads(line) for line in asked.read_text().splitlines()])

    made = {file for job in jobs for file in job["output"] if "/parts/" not in file}
    kept = {file for file in made if file.endswith((".h5", ".safetensors")) and "/state/" not in file}
    assert kept == result_files(config).keys()

    of_rules = Counter(stage for job in jobs if (stage := stage_of(job)))
    of_plan = {stage: sum(jobs_of(config, *one) for one in runs) for stage, runs in stages_of(config).items() if runs}
    assert of_rules == of_plan
    assert not (tmp_path / "results").exists()
