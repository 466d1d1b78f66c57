"""Runs by the names of their config entries, grids of them, and where the files of a study lie.

What tables are made from is named here too, so that a job finds its files by the names of its runs. Which runs an
experiment has is said in `study.experiments`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from mcoherence.data.subsets import FIRST_STAGE, SUBSETS, TRAINED_HALF
from mcoherence.study.result_names import FULL

AXES = ("datasets", "models", "labels", "optimizers", "subsets", "seeds")
Config = Mapping[str, Any]
Grid = Mapping[str, Sequence[Any]]
"""Names of entries along every one of the AXES; it stands for all of their combinations."""


def training_log(start: int) -> str:
    """The name of the training log of a run's segment that begins after `start` updates."""
    return f"training_log_from_{start}.csv" if start else "training_log.csv"


@dataclass(frozen=True)
class Run:
    """One training run, by the names of its config entries."""

    dataset: str
    model: str
    labels: str
    optimizer: str
    subset: str
    seed: int

    def path(self, results: str) -> str:
        """The run's folder, below the study's folder `results`."""
        names = (self.dataset, self.model, self.labels, self.optimizer, self.subset, f"seed{self.seed}")
        return "/".join((results, "runs", *names))

    def training_log(self, results: str, start: int) -> str:
        """The training log of the segment that begins after `start` updates."""
        return f"{self.path(results)}/{training_log(start)}"

    def file(self, results: str, name: str) -> str:
        """A file that the run makes or is made from, below `results`, by one of the names of `STUDY_FILES` or a result.

        Example:
            >>> run = Run("digits", "mlp", "clean", "sgd", "full", 0)
            >>> run.file("results/digits", "images")
            'results/digits/data/digits/images.h5'
            >>> run.file("results/digits", "evaluation")
            'results/digits/runs/digits/mlp/clean/sgd/full/seed0/evaluation.h5'
        """
        if name in STUDY_FILES:
            return study_file(results, name, **vars(self))
        return f"{self.path(results)}/{name}.h5"

    def checkpoint(self, results: str, step: int) -> str:
        """The checkpoint after `step` updates."""
        return f"{self.path(results)}/checkpoints/step{step}.safetensors"


# Files that runs share, below the folder of the study. Any other name is that of a result in the run's own folder.
STUDY_FILES = {
    "images": "data/{dataset}/images.h5",
    "images_of_seed": "data/{dataset}/seed{seed}/images.h5",  # where the split varies with the seed
    "labels": "data/{dataset}/labels/{labels}/seed{seed}/labels.h5",
    "difficulty": "difficulty/{dataset}/{model}/difficulty.h5",
    "split": "splits/{dataset}/{model}/split.h5",
    "halves": "splits/{dataset}/halves.h5",
}


def study_file(results: str, name: str, **entries: Any) -> str:
    """One of the `STUDY_FILES` of these entries, such as dataset="digits", below the study's folder `results`."""
    return f"{results}/{STUDY_FILES[name]}".format(**entries)


def table_file(results: str, table: str) -> str:
    """A table as it is read, below the study's folder `results`; its CSV file, for people, lies beside it."""
    return f"{results}/tables/{table}.parquet"


def files_needed(
    results: str, needed: Iterable[tuple[Iterable[Grid], Iterable[str]]], tables: Iterable[str]
) -> list[str]:
    """Paths of the files that a table is made from, each once: those of runs, then other tables.

    Args:
        results: folder of the study.
        needed: grids of runs, with the names of the files of theirs.
        tables: names of the other tables.
    """
    of_runs = [run.file(results, name) for grids, names in needed for run in runs_of_grids(grids) for name in names]
    return list(dict.fromkeys([*of_runs, *(table_file(results, name) for name in tables)]))


def grid(entries: Mapping[str, Any], **other: Any) -> dict[str, list[Any]]:
    """The grid of an experiment's section: its lists along the AXES, a single name as a list of one.

    Args:
        entries: a section of the config; `optimizer` stands for `optimizers`. Keys that are no axis are left out.
        **other: axes in place of those of the section, `subsets` among them; runs are on everything without.
    """
    given: dict[str, Any] = {"optimizers": entries.get("optimizer"), "subsets": [FULL], **entries, **other}
    return {axis: [given[axis]] if isinstance(given[axis], str) else list(given[axis]) for axis in AXES}


def runs_of_grids(grids: Iterable[Grid]) -> list[Run]:
    """The runs of grids, each once, where it comes first; those of a grid in the order of its axes, seeds fastest."""
    return list(dict.fromkeys(Run(*names) for one in grids for names in product(*(one[axis] for axis in AXES))))


def source_run(config: Config, run: Run) -> Run | None:
    """The run whose last weights `run` starts from, or None for fresh weights.

    A second stage goes on from its first; an optimiser with a `start` from other labels (adversarial initialisation).
    """
    if run.subset in FIRST_STAGE:
        return replace(run, subset=FIRST_STAGE[run.subset])
    start = config["optimizers"][run.optimizer].get("start")
    return None if start is None else replace(run, labels=start["labels"], optimizer=start["optimizer"])


def images_of(config: Config, run: Run) -> str:
    """Name of the file of the images that a run trains on and is tested on: that of its seed where the split varies."""
    return "images_of_seed" if split_varies(config, run.dataset) else "images"


def split_varies(config: Config, dataset: str) -> bool:
    """Whether every seed has a training and a test part of its own of a data set."""
    return bool(config["datasets"][dataset].get("split") == "by_seed")


def subset_file(run: Run) -> str | None:
    """Name of the file that says which examples a run trains on; None for a run on everything."""
    if run.subset == FULL:
        return None
    return "halves" if run.subset in TRAINED_HALF else "split"


def results_folder(config: Config) -> str:
    """The folder of the study, relative to the working directory."""
    return f"results/{config['study']}"


ALL_SUBSETS = (FULL, *SUBSETS, *TRAINED_HALF)
