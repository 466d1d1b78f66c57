"""An edit of a user's own network changes the settings of its runs, and of no others."""

import pytest

from mcoherence.errors import UserError
from mcoherence.study import checks
from mcoherence.study import settings as study
from mcoherence.study.network_code import network_code
from mcoherence.study.result_names import FULL
from mcoherence.study.runs import Run

SOURCES = {
    "my_networks.py": "import layers\n\n\ndef wide(shape, classes):\n    return layers.linear(3, classes)\n",
    "layers.py": "from torch import nn\n\n\ndef linear(a, b):\n    return nn.Linear(a, b)\n",
    "unrelated.py": "X = 1\n",
    "nets/small.py": "def net(shape, classes):\n    return None\n",
    "nets/broken.py": "def net(shape, classes)\n    return None\n",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


CONFIG = {
    "datasets": {"digits": {"source": "digits"}},
    "models": {"mine": {"architecture": "my_networks:wide"}, "mlp": {"architecture": "mlp", "hidden": [3]}},
    "optimizers": {"sgd": {"method": "sgd", "lr": 0.1}},
    "training": {"updates": 4, "batch_size": 2, "checkpoints": {"every_step_until": 1, "per_doubling": 1}},
}


def settings_of_runs():
    runs = [Run("digits", model, "clean", "sgd", FULL, 0) for model in CONFIG["models"]]
    return [study.training_settings(CONFIG, run, 0, 4)["model"] for run in runs]


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("my_networks.py", "linear(3", "linear(4", True),
        ("layers.py", "nn.Linear(a, b)", "nn.Linear(a, b, bias=False)", True),
        ("my_networks.py", "\n\ndef", "\n\n# A comment.\ndef", False),
        ("unrelated.py", "X = 1", "X = 2", False),
    ],
)
def test_the_code_that_a_network_reaches_is_a_setting_of_its_runs_alone(folder, file, old, new, changes):
    mine, other = settings_of_runs()
    assert mine.keys() == {"architecture", "code"}
    assert other == CONFIG["models"]["mlp"]
    edit(folder / file, old, new)
    mine_now, other_now = settings_of_runs()
    assert (mine_now != mine) == changes
    assert other_now == other


def test_a_module_in_a_folder_is_found(folder):
    assert network_code("nets.small:net") != network_code("my_networks:wide")


def test_an_installed_module_counts_as_a_library(folder):
    assert network_code("torch.nn.modules.linear:Linear") == "installed"


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("my_networks:", "expected module:function, such as"),
        ("my-networks:wide", "expected module:function, such as"),
        ("my_networks.py:wide", r"but no my_networks/py\.py in the working directory and no installed module"),
        ("my_netwroks:wide", r"but no my_netwroks\.py in the working directory"),
        ("nets.samll:net", r"but no nets/samll\.py in the working directory"),
        ("torch.nn.moduels:Linear", r"no installed module torch\.nn\.moduels"),
        ("nets.broken:net", r"whose code is not valid Python \(broken\.py, line 1: "),
    ],
)
def test_a_wrong_name_is_one_line_that_names_its_key(folder, architecture, message):
    config = {"models": {"mine": {"architecture": architecture}}}
    with pytest.raises(UserError, match=message) as caught:
        checks.check_models(config)
    assert str(caught.value).startswith(f"models.mine.architecture: found {architecture!r}")
    assert "\n" not in str(caught.value)


def test_modules_of_the_project_that_it_imports_count_as_well(tmp_path):
    own, project = tmp_path / "own", tmp_path / "project"
    for path, text in (
        (own / "nets.py", "from package import layers\n\ndef net(): pass\n"),
        (project / "package/__init__.py", ""),
        (project / "package/layers.py", "WIDTH = 3\n"),
        (project / "package/unrelated.py", "X = 1\n"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = network_code("nets:net", (own, project))
    edit(project / "package/unrelated.py", "1", "2")
    assert network_code("nets:net", (own, project)) == before
    edit(project / "package/layers.py", "3", "4 ")
    assert network_code("nets:net", (own, project)) != before
