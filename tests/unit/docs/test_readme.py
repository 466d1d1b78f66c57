"""What the README tells a reader to type works, and what it shows is current."""

import json
import re
from pathlib import Path

import pytest
import yaml
from snakemake.utils import validate

from mcoherence.study import checks, schema_checks
from mcoherence.study.catalogue import tables_of, with_entries_made
from mcoherence.study.config_files import over, read_config, study_config
from mcoherence.study.experiments import label_noise
from mcoherence.study.runs import runs_of_grids
from mcoherence.study.settings import table_settings

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
STUDIES = pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.name)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("name", ["README.md", "docs/gradients.md"])
def test_python_examples_run(name):
    """All blocks of a page, one after the other, as a reader would type them."""
    text = (ROOT / name).read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    namespace = {}
    exec(compile(code, name, "exec"), namespace)
    assert namespace["statistics"].evidence.spot_relative_error < 1e-4


@pytest.mark.parametrize("block", blocks("yaml"))
def test_config_examples_are_valid(block):
    config = over(read_config(ROOT / "config.yaml"), yaml.safe_load(block), entries=True)
    schema_checks.check_config(config, json.loads((ROOT / "schemas/config.schema.json").read_text()))
    checks.check_references(config)
    assert {run.model for run in runs_of_grids(label_noise.grids(config))} == {"mlp"}


@STUDIES
def test_every_further_study_is_valid(path):
    config = study_config(ROOT / "config.yaml", [path], {}).config
    schema_checks.check_config(config, json.loads((ROOT / "schemas/config.schema.json").read_text()))
    checks.check_references(with_entries_made(config))
    assert config["study"] == path.stem


@STUDIES
def test_the_order_of_keys_in_a_study_decides_nothing(path):
    config = study_config(ROOT / "config.yaml", [path], {}).config
    validate(config, str(ROOT / "schemas/config.schema.json"))  # fills in the defaults
    config = with_entries_made(config)
    sorted_by_keys = json.loads(json.dumps(config, sort_keys=True))  # as settings are handed to commands
    for table in tables_of(config):
        assert table_settings(sorted_by_keys, table) == table_settings(config, table)


def test_every_file_that_the_readme_links_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)


def test_every_number_of_the_first_findings_is_one_of_the_findings():
    section = README.partition("## What it found first")[2].partition("\n## ")[0]
    findings = (ROOT / "docs/findings.md").read_text()
    numbers = re.findall(r"-?\d+\.\d+", section)
    assert len(numbers) > 10
    assert [number for number in numbers if number not in findings] == []
