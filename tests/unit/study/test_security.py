"""What the code may do with what it reads, and that each line of docs/security.md names a test that there is."""

import ast
import re
from pathlib import Path

import pytest

from mcoherence.study.results import RESULTS, result
from mcoherence.study.runs import Run

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/security.md").read_text()
FILES = [path for package in ("mcoherence", "workflow_scripts") for path in sorted((ROOT / package).rglob("*.py"))]
# What evaluates or unpickles, by the names that it has where it is called.
FORBIDDEN = {
    "eval", "exec", "compile", "pickle.load", "pickle.loads", "torch.load", "np.load", "pd.read_pickle", "yaml.load",
    "joblib.load", "marshal.loads", "shelve.open", "os.system", "os.popen", "torch.hub.load",
}  # fmt: skip


def calls(tree):
    """The names of what is called, as they are written, with shell=True as a name of its own.

    torch.load with weights_only=True, which makes tensors and nothing else, is a name of its own too.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            keywords = [f"{keyword.arg}={ast.unparse(keyword.value)}" for keyword in node.keywords]
            tensors_alone = "weights_only=True" in keywords
            yield f"{ast.unparse(node.func)}{' of tensors' if tensors_alone else ''}"
            yield from keywords


def test_nothing_that_is_read_is_evaluated_or_unpickled():
    found = {name for path in FILES for name in calls(ast.parse(path.read_text()))}
    assert len(found) > 500
    assert not found & (FORBIDDEN | {"shell=True", "allow_pickle=True"})


@pytest.mark.parametrize("name", [*RESULTS, "coherence_m7"])
@pytest.mark.parametrize(("architecture", "named"), [("nets:mine", {"own_network": "nets:mine"}), ("mlp", {})])
def test_jobs_that_load_checkpoints_take_the_name_of_an_own_network_from_the_config(name, architecture, named):
    config = {
        "models": {"net": {"architecture": architecture}},
        "optimizers": {"sgd": {"method": "sgd"}},
        "measurement": {"sample_size": 5, "heldout_size": 3, "seed": 0, "precision": "float32"},
        "contributions": {"optimizers": [], "null_worlds": 1},
        "confusion": {"mini_batches": 2},
        "training": {"batch_size": 4, "updates": 4},
    }
    settings = result(name).settings(config, Run("d", "net", "clean", "sgd", "full", 0))
    assert {key: value for key, value in settings.items() if key == "own_network"} == named


def test_every_row_of_the_page_on_security_names_a_test_that_there_is():
    rows = [row for row in re.findall(r"^\| .+ \|$", PAGE, flags=re.M) if not re.match(r"\| (---|what \|)", row)]
    assert len(rows) > 18
    for row in rows:
        test = row.split("|")[-2].strip().strip("`")
        if test:
            path, _, function = test.partition("::")
            assert re.search(rf"^def {function}\(", (ROOT / path).read_text(), flags=re.M), test
        else:
            assert "not at all" in row
