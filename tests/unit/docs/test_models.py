"""What docs/models.md tells a reader to type works, and what it lists is so."""

import copy
import json
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

from mcoherence.models import build_model
from mcoherence.models.build import outline
from mcoherence.study import checks, schema_checks

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/models.md").read_text()
PYTHON, YAML = (re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL) for language in ("python", "yaml"))
SCHEMA = json.loads((ROOT / "schemas/config.schema.json").read_text())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to run in, with the page's module where the page says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_networks.py").write_text(PYTHON[0])
    yield tmp_path
    sys.modules.pop("my_networks", None)


@pytest.mark.parametrize("block", YAML)
def test_config_examples_are_valid_and_build(folder, block):
    config = copy.deepcopy(yaml.safe_load((ROOT / "tests/digits_study.yaml").read_text()))
    entries = yaml.safe_load(block)["models"]
    config["models"] |= entries
    schema_checks.check_config(config, SCHEMA)
    checks.check_references(config)
    for settings in entries.values():
        model = outline(settings, (3, 32, 32), 4)
        device = next(model.parameters()).device
        assert model(torch.zeros(2, 3, 32, 32, device=device)).shape == (2, 4)


def test_the_example_of_an_own_network_returns_logits(folder):
    (settings,) = yaml.safe_load(YAML[1])["models"].values()
    model = build_model(settings, (1, 8, 8), 4)
    assert model[1].weight.shape == (128, 64)
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 4)


def test_the_python_example_runs(folder):
    namespace = {}
    exec(compile(PYTHON[1], "docs/models.md", "exec"), namespace)
    inputs = torch.randn(2, 1, 28, 28)
    assert torch.equal(namespace["again"](inputs), namespace["model"].eval()(inputs))


def test_every_architecture_family_and_setting_of_the_schema_is_on_the_page():
    named = set(re.findall(r"`(\w+)`", PAGE))
    for definition in ("mlp", "cnn", "resnet", "vgg", "alexnet", "inception_v3", "efficientnet", "own_network"):
        properties = SCHEMA["$defs"][definition]["properties"]
        assert properties.keys() - {"architecture"} <= named
        architecture = properties["architecture"]
        known = [architecture["const"]] if "const" in architecture else architecture.get("enum", [])
        assert not known or named & set(known)


@pytest.mark.parametrize("row", re.findall(r"\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \| \dx\d \|", PAGE))
def test_the_numbers_of_parameters_are_right(row):
    name, *printed = row

    def size(*arguments):
        return f"{sum(p.numel() for p in outline({'architecture': name}, *arguments).parameters()):,}"

    assert printed == [size((3, 299, 299), 1000), size((3, 32, 32), 10)]


@pytest.mark.parametrize(("name", "shape"), [("vit_tiny_patch16_224", (1, 32, 32)), ("resnet18", (3, 32, 32))])
def test_the_function_around_timm_builds_networks_for_the_images(tmp_path, monkeypatch, name, shape):
    pytest.importorskip("timm")
    block = PAGE.partition("### A network of timm\n")[2].partition("\nThe entry")[0]
    (tmp_path / "my_timm.py").write_text(
        "\n".join(line[4:] for line in block.splitlines() if line.startswith("    ") or not line)
    )
    monkeypatch.syspath_prepend(tmp_path)
    from my_timm import of_timm

    assert of_timm(shape, 5, name)(torch.zeros(2, *shape)).shape == (2, 5)
    sys.modules.pop("my_timm")
