"""What docs/data.md shows is valid: its settings by the schema, its sources complete, its code by running it."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from mcoherence.data.corruption import SCHEMES
from mcoherence.data.glyphs import CHARACTERS
from mcoherence.data.image_shapes import image_shape
from mcoherence.data.source_modules import SOURCES
from mcoherence.data.sources import open_source
from mcoherence.errors import UserError
from mcoherence.study import checks, schema_checks

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/data.md").read_text()
CONFIG = yaml.safe_load((ROOT / "tests/digits_study.yaml").read_text())
SCHEMA = json.loads((ROOT / "schemas/config.schema.json").read_text())


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def checked(changes):
    """A config with the entries of `changes` added; checked."""
    added = {key: {**CONFIG[key], **value} if isinstance(value, dict) else value for key, value in changes.items()}
    config = CONFIG | added
    schema_checks.check_config(config, SCHEMA)
    checks.check_references(config)
    return config


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to run in, with the page's module where the page says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_data.py").write_text(next(block for block in blocks("python") if "def stripes" in block))
    yield tmp_path
    sys.modules.pop("my_data", None)


@pytest.mark.parametrize("block", blocks("yaml"))
def test_settings_are_valid(folder, block):
    checked(yaml.safe_load(block))


def test_every_source_and_scheme_is_shown():
    shown = [yaml.safe_load(block) for block in blocks("yaml")]
    entries = [entry for block in shown for entry in block.get("datasets", {}).values()]
    assert {entry["source"] for entry in entries} == {*SOURCES, "my_data:stripes"}
    assert set(SCHEMA["properties"]["datasets"]["additionalProperties"]["properties"]["source"]["else"]["enum"]) == set(
        SOURCES
    )
    noise = [entry for block in shown for entry in block.get("labels", {}).values()]
    assert {entry.get("scheme", "uniform") for entry in noise} == set(SCHEMES)
    assert SCHEMA["$defs"]["glyphs"]["properties"]["classes"]["maximum"] == len(CHARACTERS)


def test_the_data_of_the_example_are_those_of_its_entry(folder):
    block = next(block for block in blocks("yaml") if "my_data" in block)
    (settings,) = yaml.safe_load(block)["datasets"].values()
    data = open_source(settings, folder, download=False)
    assert data.image_shape == image_shape(settings) == (1, 8, 8)
    assert data.class_names == ("across", "along")
    assert [len(part.targets) for part in (data.train, data.test)] == [400, 400]
    assert data.train.items[data.train.targets == 0][:, :, ::2].min() >= 120  # the lines across


def test_the_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in blocks("python"):
        exec(compile(block, "docs/data.md", "exec"), {})
    assert capsys.readouterr().out == "torch.Size([96, 3, 32, 32])\n" * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            "datasets: {x: {source: folder, root: a, resize: 200, size: 224}}",
            r"x\.resize: found 200, expected at least",
        ),
        ("datasets: {x: {source: folder, resize: 256, size: 224}}", "datasets.x: found no key root"),
        ("datasets: {x: {source: svhn}}", "datasets.x.source: found 'svhn'; expected one of digits, glyphs"),
        ("datasets: {x: {source: 'my_data:stripes'}}", "datasets.x: found no key shape"),
        ("datasets: {x: {source: mnist, classes: 3}}", "found the unknown key 'classes'"),
        (
            "datasets: {x: {source: glyphs, classes: 62, train_size: 50, test_size: 62}}",
            r"x\.train_size: found 50, expected at least one image of each of the 62 classes",
        ),
        (
            "datasets: {x: {source: mnist, augmentation: {crop_scale: [1.0, 0.5]}}}",
            r"x\.augmentation\.crop_scale: found \[1.0, 0.5\], expected the lower bound first",
        ),
        ("labels: {x: {fraction: 0.5, scheme: class_conditional}}", "labels.x: found no key transition"),
        (
            "labels: {x: {fraction: 0.5, transition: {a: b}}}",
            r"labels\.x\.transition: found one with scheme uniform, expected it with class_conditional only",
        ),
        (
            "labels: {x: {fraction: 0.5, scheme: class_conditional, transition: [[1, 0], [1]]}}",
            r"labels\.x\.transition: row 1 has 1 numbers, expected 2",
        ),
        (
            "labels: {x: {fraction: 0.5, scheme: class_conditional, transition: [[1, 0], [0.5, 0.4]]}}",
            r"labels\.x\.transition: row 1 adds up to 0.9, expected 1",
        ),
    ],
)
def test_wrong_settings_are_refused_by_name(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        checked(yaml.safe_load(changes))
    assert "\n" not in str(caught.value)
