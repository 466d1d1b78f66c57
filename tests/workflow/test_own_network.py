"""Networks and data of a user's own in the workflow: made like any others, and again when their code changes alone."""

import pytest

from mcoherence import load_checkpoint
from mcoherence.data.store import read_targets

pytestmark = [pytest.mark.slow, pytest.mark.one_in(3)]

NETWORK = """from torch import nn


def linear(input_shape, num_classes, bias=True):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes, bias=bias))
"""
STUDY = """
study: miniature
experiments: [label_noise, easy_hard]
models:
  mlp: {architecture: mlp, hidden: [4]}
  mine: {architecture: "nets.mine:linear", options: {bias: false}}
datasets: {digits: {source: digits, train_size: 120}}
training: {updates: 3, batch_size: 20, checkpoints: {every_step_until: 0, per_doubling: 1}}
label_noise: {models: [mlp, mine], labels: [clean], optimizers: [sgd], seeds: [0]}
easy_hard: {models: [mlp], reference_seeds: [0], seeds: [10]}
"""
RUNS = {model: f"results/miniature/runs/digits/{model}/clean/sgd/full/seed0" for model in ("mlp", "mine")}
LOGS = [f"{run}/training_log.csv" for run in RUNS.values()]


def test_an_own_network_is_trained_again_when_its_code_changes(workflow_copy, monkeypatch):
    folder = workflow_copy.folder
    (folder / "miniature.yaml").write_text(STUDY)
    (folder / "nets").mkdir()
    module = folder / "nets/mine.py"

    absent = workflow_copy.run("--dry-run", "--quiet", "all", "--", *LOGS)
    assert absent.returncode == 1
    assert (
        "error: config: miniature.yaml: models.mine.architecture: found 'nets.mine:linear', but no nets/mine.py"
        in absent.stdout
    )
    assert not (folder / "results").exists()

    module.write_text(NETWORK)
    answer = workflow_copy.run("--cores", "2", "--quiet", "reason", "--", *LOGS)
    assert answer.returncode == 0, answer.stdout[-5000:]
    monkeypatch.syspath_prepend(folder)
    checkpoint = folder / RUNS["mine"] / "checkpoints/step3.safetensors"
    names = dict(load_checkpoint(checkpoint, own_network="nets.mine:linear").named_parameters())
    assert {name: tuple(p.shape) for name, p in names.items()} == {"1.weight": (10, 64)}
    assert workflow_copy.planned(*LOGS) == {}
    # Another use of the network is another check, for which nothing is trained again.
    (folder / "miniature.yaml").write_text(STUDY + "measurement: {precision: float32}\n")
    assert workflow_copy.planned(*LOGS) == {}
    (folder / "miniature.yaml").write_text(STUDY)

    module.write_text("# A comment.\n" + NETWORK)
    assert workflow_copy.planned(*LOGS) == {}
    module.write_text(NETWORK.replace("bias=bias)", "bias=not bias)"))
    assert workflow_copy.planned(*LOGS) == {"check_network": 1, "train": 1}
    assert workflow_copy.planned(LOGS[0]) == {}


DATA = """import numpy as np


def data(count):
    images = np.random.default_rng(0).integers(0, 256, size=(count, 1, 8, 8), dtype=np.uint8)
    targets = np.arange(count) % 2
    return images, targets, images[:20], targets[:20]
"""
OF_DATA = """
study: miniature
experiments: [label_noise, easy_hard]
models: {mlp: {architecture: mlp, hidden: [4]}}
datasets: {mine: {source: "own.data:data", shape: [1, 8, 8], options: {count: 60}}}
training: {updates: 1, batch_size: 20, checkpoints: {every_step_until: 0, per_doubling: 1}}
label_noise: {datasets: [mine], models: [mlp], labels: [clean], optimizers: [sgd], seeds: [0]}
easy_hard: {datasets: [mine], models: [mlp], reference_seeds: [0], seeds: [10]}
"""


def test_data_of_ones_own_are_prepared_again_when_their_code_changes(workflow_copy):
    folder, images = workflow_copy.folder, "results/miniature/data/mine/images.h5"
    (folder / "miniature.yaml").write_text(OF_DATA)
    absent = workflow_copy.run("--dry-run", "--quiet", "all", "--", images)
    assert absent.returncode == 1
    assert (
        "error: config: miniature.yaml: datasets.mine.source: found 'own.data:data', but no own/data.py"
        in absent.stdout
    )

    (folder / "own").mkdir()
    module = folder / "own/data.py"
    module.write_text(DATA)
    answer = workflow_copy.run("--cores", "1", "--quiet", "reason", "--", images)
    assert answer.returncode == 0, answer.stdout[-5000:]
    assert len(read_targets(folder / images, "train")) == 60
    module.write_text("# A comment.\n" + DATA)
    assert workflow_copy.planned(images) == {}
    module.write_text(DATA.replace("default_rng(0)", "default_rng(1)"))
    assert workflow_copy.planned(images) == {"prepare_dataset": 1}


BOTH = OF_DATA.replace("datasets: {mine:", "datasets: {digits: {source: digits, train_size: 120}, mine:").replace(
    "label_noise: {datasets: [mine]", "label_noise: {datasets: [digits, mine]"
).replace("experiments: [label_noise, easy_hard]", "experiments: [label_noise]")  # fmt: skip
GOOD_LOG = "results/miniature/runs/digits/mlp/clean/sgd/full/seed0/training_log.csv"


def with_data(old, new):
    assert old in DATA
    return DATA.replace(old, new)


# What is wrong, by the function itself and by the check of what it returned: (the module, what is said of it).
BROKEN = {
    "raises": (with_data("    images =", "    raise FileNotFoundError('my pictures')\n    images ="), "my pictures"),
    "few": (
        with_data("return images, targets,", "return images[:10], targets[:10],"),
        "training.batch_size: found 20, expected at most the 10 examples of datasets.mine",
    ),
}


@pytest.mark.parametrize(("broken", "said"), BROKEN.values(), ids=BROKEN)
def test_no_data_set_is_trained_on_before_all_functions_of_ones_own_have_returned(workflow_copy, broken, said):
    folder = workflow_copy.folder
    (folder / "miniature.yaml").write_text(BOTH)
    (folder / "own").mkdir()
    (folder / "own/data.py").write_text(broken)
    answer = workflow_copy.run("--cores", "4", "--keep-going", "--quiet", "reason")
    assert answer.returncode == 1
    assert said in answer.stdout
    assert (folder / "results/miniature/data/digits/images.h5").exists()  # it had all that training takes but the check
    assert not list((folder / "results").rglob("checkpoints/*"))
    assert not list((folder / "results").rglob("logs/train/**/*.log"))


TEN_OUTPUTS = """from torch import nn


def net(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


def test_a_network_with_other_outputs_than_the_data_have_classes_is_not_trained_on_them(workflow_copy):
    folder = workflow_copy.folder
    both = BOTH.replace(
        "{mlp: {architecture: mlp, hidden: [4]}}",
        '{mlp: {architecture: mlp, hidden: [4]}, ten: {architecture: "own.nets:net"}}',
    )
    study = both.replace("models: [mlp]", "models: [mlp, ten]")
    (folder / "miniature.yaml").write_text(study)
    (folder / "own").mkdir()
    (folder / "own/data.py").write_text(DATA)
    (folder / "own/nets.py").write_text(TEN_OUTPUTS)
    # Of the digits it is known that there are ten. What the function returns is asked once it is there.
    planned = workflow_copy.planned()
    assert (planned["check_network"], planned["check_network_on_data"]) == (4, 1)
    logs = [
        GOOD_LOG.replace("digits", data).replace("mlp", model)
        for data in ("digits", "mine")
        for model in ("mlp", "ten")
    ]
    answer = workflow_copy.run("--cores", "4", "--keep-going", "--quiet", "reason", "--", *logs)
    assert answer.returncode == 1
    assert "models.ten: own.nets:net: found an output of [2, 10] for two images of 1x8x8" in answer.stdout
    assert "expected logits [2, 2]" in answer.stdout
    assert (folder / "results/miniature/runs/digits/ten").exists()
    assert not (folder / "results/miniature/runs/mine/ten").exists()

    # So it is of a network that was right, is there, and is wrong since, however often one tries.
    log = "results/miniature/runs/mine/ten/clean/sgd/full/seed0/training_log.csv"
    (folder / "own/nets.py").write_text(TEN_OUTPUTS.replace("10)", "num_classes)"))
    assert workflow_copy.run("--cores", "2", "--quiet", "reason", "--", log).returncode == 0
    (folder / "own/nets.py").write_text(TEN_OUTPUTS)
    for _ in range(2):
        assert workflow_copy.run("--cores", "2", "--quiet", "reason", "--", log).returncode == 1
        assert {**workflow_copy.planned(log), "check_network": 1} == {
            "check_network": 1, "check_network_on_data": 1, "train": 1,
        }  # fmt: skip


def test_what_is_trained_waits_for_no_function_that_was_edited_since(workflow_copy):
    folder = workflow_copy.folder
    (folder / "miniature.yaml").write_text(BOTH)
    (folder / "own").mkdir()
    (folder / "own/data.py").write_text(DATA)
    logs = [GOOD_LOG, GOOD_LOG.replace("digits", "mine")]
    assert workflow_copy.planned()["check_data"] == 1
    # Who asks for one file waits for no other data set; whose own it is, for its own.
    assert "check_data" not in workflow_copy.planned(GOOD_LOG)
    assert workflow_copy.planned(logs[1])["check_data"] == 1
    answer = workflow_copy.run("--cores", "4", "--quiet", "reason", "--", *logs)
    assert answer.returncode == 0, answer.stdout[-5000:]
    assert workflow_copy.planned(*logs) == {}
    assert "train" not in workflow_copy.planned()
    (folder / "own/data.py").write_text(DATA.replace("default_rng(0)", "default_rng(1)"))
    assert workflow_copy.planned(GOOD_LOG) == {}
    planned = workflow_copy.planned()
    assert (planned["check_data"], planned["train"]) == (1, 1)  # of the data set whose function it is, checked before
    for check in (folder / "results/miniature/checks/mine").glob("data-*.json"):
        check.unlink()  # as in a study that was finished before there was such a check
    (folder / "own/data.py").write_text(DATA)
    assert "train" not in workflow_copy.planned()
