"""A study's folder with one run, whose result files are written out by hand."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcoherence.data.store import IMAGES_SCHEMA, LABELS_SCHEMA
from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.measuring.difficulty import DIFFICULTY_SCHEMA
from mcoherence.study.result_names import COHERENCE_SCHEMA, EVALUATION_SCHEMA, GROUPS
from mcoherence.study.runs import Run, study_file
from mcoherence.tables.column_reference import header
from mcoherence.tables.dictionary import columns_of

NOISE = {"noisy": 0.8}
NORMALISED = {"batch_norm": {"statistics": "sample", "layers": ["bn"]}}  # what every measurement here says of itself
HISTORY = {  # predictions of reference runs at steps 0, 10, 20 by subset; examples 0 and 3 are half a
    "full": [[0, 1, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]],
    "half_a": [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]],
    "half_b": [[1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]],
    "half_b_after_a": [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]],
    "half_a_after_b": [[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 0, 0]],
}


class Study:
    """Four training examples, the last two with another label, and four test examples of the classes 0, 0, 1, 1."""

    def __init__(self, folder):
        self.results = str(folder)
        self.run = Run("d", "net", "noisy", "c2", "full", 3)
        self.noise = NOISE
        self.write_labels(labels=[0, 1, 1, 0], original=[0, 1, 0, 1])
        images = {"test/targets": np.array([0, 0, 1, 1])}
        write_hdf5(
            Path(study_file(self.results, "images", dataset="d")), IMAGES_SCHEMA, images, {"class_names": ["a", "b"]}
        )

    def file(self, name, run=None):
        return Path((run or self.run).file(self.results, name))

    def write_labels(self, labels, original, scheme="permute", run=None):
        content = {"labels": np.array(labels), "original": np.array(original), "selected": np.ones(4, dtype=bool)}
        content["changed"] = content["labels"] != content["original"]
        content["test/targets"] = np.array([0, 0, 1, 1])
        path = Path((run or self.run).file(self.results, "labels"))
        write_hdf5(path, LABELS_SCHEMA, content, {"settings": {"scheme": scheme}})

    def write_evaluation(self, train, test, diverged=None, steps=None, run=None, index=None):
        """Predictions [K][4]; the losses on training examples are 0, 1, 2, ... in order, on test examples 0.

        With the `index` of a sample the predictions on training examples are of these alone, [K][n].
        """
        steps = np.array(steps or range(0, 10 * len(train), 10))
        content = {
            "step": steps,
            "epoch": steps / 4,
            "diverged": np.array(diverged or [False] * len(steps)),
            "train/prediction": np.array(train, dtype=np.int32),
            "test/prediction": np.array(test, dtype=np.int32),
            "train/loss": np.arange(len(steps) * len(train[0]), dtype=np.float32).reshape(len(steps), -1),
            "test/loss": np.zeros((len(steps), 4), dtype=np.float32),
        }
        if index is not None:
            content["train/index"] = np.array(index)
        write_hdf5(self.file("evaluation", run), EVALUATION_SCHEMA, content, {})

    def write_coherence(self, sums, sum_sq_norm, n, steps, diverged=None, name="coherence"):
        """Sums [K][3][P] of the groups' gradients, a number per parameter; the last parameter is a layer of its own."""
        content = gradient_sums(GROUPS, sums, sum_sq_norm, n, steps, diverged)
        write_hdf5(self.file(name), COHERENCE_SCHEMA, content, NORMALISED)


def gradient_sums(groups, sums, sum_sq_norm, n, steps, diverged=None):
    """The contents of coherence.h5 and its like: of gradient sums with one number per parameter."""
    sums, steps = np.array(sums, dtype=np.float64), np.array(steps)
    return {
        "step": steps,
        "epoch": steps / 4,
        "diverged": np.array(diverged or [False] * len(steps)),
        "n": np.array([n] * len(steps)),
        "sum_sq_norm": np.array(sum_sq_norm, dtype=np.float64),
        "gram": np.einsum("kgp,khp->kghp", sums, sums),
        "group": list(groups),
        "layer": ["conv", "output"],
        "layer_type": ["Conv2d", "Linear"],
        "parameter_layer": np.array([0] * (sums.shape[-1] - 1) + [1]),
    }


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path / "results")


@pytest.fixture
def sums_of():
    """`gradient_sums`, for tests of files other than coherence.h5."""
    return gradient_sums


@pytest.fixture
def normalised():
    """Attributes of a measurement whose batch norm normalised by the statistics of the sample."""
    return NORMALISED


@pytest.fixture
def measured(study):
    """The study with a run that is evaluated and measured at steps 0, 4 and 8; and how to say that it diverged."""

    def write(diverged):
        # right on 1, 2 and 4 of 4 training labels, on 1, 3 and 3 of 4 test labels
        train = [[0, 0, 0, 1], [0, 1, 0, 1], [0, 1, 1, 0]]
        test = [[1, 1, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0]]
        study.write_evaluation(train, test, diverged, steps=[0, 4, 8])
        # pristine, corrupt, held-out; two parameters
        sums = [[[2, 0], [0, 1], [1, 0]], [[3, 0], [-1, 0], [0, 2]], [[0, 0], [1, 1], [2, 2]]]
        totals = [[[4, 0], [0, 9], [1, 0]], [[9, 0], [4, 0], [0, 4]], [[0, 0], [1, 3], [4, 4]]]
        study.write_coherence(sums, totals, n=[2, 4, 1], steps=[0, 4, 8], diverged=diverged)

    write([False] * 3)
    study.write = write
    return study


@pytest.fixture
def references(study):
    """Results, runs and noise: two reference runs with one history, the second diverged, and both stages of the halves.

    The labels are 0, 1, 1, 0, and 0 for all before corruption.
    """
    runs = [replace(study.run, seed=seed) for seed in (0, 1)]
    for run in runs:
        study.write_labels(labels=[0, 1, 1, 0], original=[0] * 4, run=run)
        for subset, predictions in HISTORY.items():
            diverged = [False, False, run.seed == 1 and subset == "half_a"]
            study.write_evaluation(predictions, [[0] * 4] * 3, diverged, run=replace(run, subset=subset))
    halves = {"half_a_train": np.array([0, 3]), "half_b_train": np.array([1, 2])}
    write_hdf5(Path(study_file(study.results, "halves", dataset="d")), SPLIT_SCHEMA, halves, {})
    scores = {
        "learned_at": np.array([[0, 20, 10, np.inf], [0, 0, 0, 0]]),
        "forgetting_events": np.array([[0, 1, 0, np.inf], [0, 0, 0, 0]]),
        "mean_loss": np.ones((2, 4)),
        "rank": np.array([[0, 2, 1, 3], [0, 1, 2, 3]]) / 3,
        "score": np.array([0, 2, 1, 3]) / 3,
        "diverged": np.array([False, True]),
    }
    write_hdf5(Path(study_file(study.results, "difficulty", dataset="d", model="net")), DIFFICULTY_SCHEMA, scores, {})
    return study.results, runs, study.noise


@pytest.fixture
def described():
    """Asserts that every column of a table is described, and that the table has all that its module describes."""

    def check(name, table):
        assert set(table) <= columns_of(name).keys()
        module = importlib.import_module(f"mcoherence.tables.{name}")
        assert getattr(module, "COLUMNS", {}).keys() <= set(table)
        assert list(table) == header(name)  # as docs/columns.md says

    return check
