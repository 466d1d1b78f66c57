"""The runs that the experiments of a config ask for, and the paths of what belongs to them.

An order of runs is the order of the rows of the tables that are made from them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypedDict

from mcoherence.data.subsets import FIRST_STAGE, SUBSETS, TRAINED_HALF

FULL = "full"
Config = Mapping[str, Any]


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

    def file(self, results: str, name: str) -> str:
        """A result file of the run by its name, such as "evaluation.h5"."""
        return f"{self.path(results)}/{name}"

    def labels_path(self, results: str) -> str:
        """The labels.h5 that the run trains on."""
        return f"{results}/data/{self.dataset}/labels/{self.labels}/seed{self.seed}/labels.h5"


class Grid(TypedDict):
    """Runs by what they are combinations of: names of config entries, parts of the training images, seeds.

    A few grids name a thousand runs in a few lines, so that they fit among the settings on a command line.
    """

    datasets: list[str]
    models: list[str]
    labels: list[str]
    optimizers: list[str]
    subsets: list[str]
    seeds: list[int]


def runs_of_grids(grids: Iterable[Grid]) -> list[Run]:
    """The runs of all grids, each once, at its first place; those of a grid in the order of its keys, seeds fastest."""
    combinations = (
        product(grid["datasets"], grid["models"], grid["labels"], grid["optimizers"], grid["subsets"], grid["seeds"])
        for grid in grids
    )
    return list(dict.fromkeys(Run(*names) for combined in combinations for names in combined))


def makes(config: Config, experiment: str) -> bool:
    """Whether the study makes the experiment of this name."""
    return experiment in config["experiments"]


def _grid(experiment: Config, **others: list[Any]) -> Grid:
    """The grid of an experiment whose section has such keys, with `others` in place of them; on the full part."""
    keys: Config = {"subsets": [FULL], **experiment, **others}
    return Grid(
        datasets=list(keys["datasets"]),
        models=list(keys["models"]),
        labels=list(keys["labels"]),
        optimizers=list(keys["optimizers"]),
        subsets=list(keys["subsets"]),
        seeds=list(keys["seeds"]),
    )


def label_noise_grids(experiment: Config) -> list[Grid]:
    """Every combination of its entries; and for each of `further` the same with other entries in place of some."""
    return [_grid(experiment), *(_grid({**experiment, **other}) for other in experiment.get("further", []))]


def label_noise_runs(experiment: Config) -> list[Run]:
    """The runs of the label-noise experiment, each once, on the full training part."""
    return runs_of_grids(label_noise_grids(experiment))


def partly_random(config: Config) -> dict[str, Any]:
    """The label-noise experiment with only those label sets that have pristine and corrupt examples."""
    experiment = config["label_noise"]
    names = [name for name in experiment["labels"] if 0 < config["labels"][name]["fraction"] < 1]
    return {**experiment, "labels": names}


def contribution_runs(config: Config) -> list[Run]:
    """The runs whose contributions are measured; none where the study does not make that experiment."""
    return label_noise_runs(partly_random(config)) if makes(config, "contributions") else []


def winsorization(config: Config) -> dict[str, dict[str, float]]:
    """Optimiser entry -> its c, and the number `alike` of the family of entries that differ in c alone.

    Of the entries of the label-noise experiment; empty without winsorised ones. An SGD entry that has all other
    settings of a family belongs to it, with c = 0.
    """
    entries = {name: config["optimizers"][name] for name in config["label_noise"]["optimizers"]}
    rest = {name: {k: v for k, v in entry.items() if k not in ("method", "c")} for name, entry in entries.items()}
    families: list[dict[str, Any]] = []
    for name, entry in entries.items():
        if entry["method"] == "winsorized" and rest[name] not in families:
            families.append(rest[name])
    return {
        name: {"c": entry.get("c", 0), "alike": families.index(rest[name])}
        for name, entry in entries.items()
        if entry["method"] in ("sgd", "winsorized") and rest[name] in families
    }


def sample_size_grids(experiment: Config) -> list[Grid]:
    """The runs whose coherence is measured on samples of several sizes."""
    return [_grid(experiment, optimizers=[experiment["optimizer"]])]


def sample_size_runs(experiment: Config) -> list[Run]:
    """The runs of `sample_size_grids`."""
    return runs_of_grids(sample_size_grids(experiment))


def sweep_grids(experiment: Config) -> list[Grid]:
    """The runs of networks that differ in a swept setting, each once."""
    models = list(dict.fromkeys(model for names in experiment["models"].values() for model in names))
    return [_grid(experiment, models=models, optimizers=[experiment["optimizer"]])]


def sweep_runs(experiment: Config) -> list[Run]:
    """The runs of `sweep_grids`."""
    return runs_of_grids(sweep_grids(experiment))


def swept_value(entry: Config, setting: str) -> float | None:
    """The value of a swept setting in an entry of `models`; None where it has none.

    `width` is that of all hidden layers of an MLP, `depth` their number; any other setting is a number in the entry.
    """
    hidden = entry.get("hidden")
    if setting in ("width", "depth"):
        if not isinstance(hidden, list) or (setting == "width" and len(set(hidden)) != 1):
            return None
        return float(len(hidden) if setting == "depth" else hidden[0])
    value = entry.get(setting)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def adversarial_start_grids(experiment: Config) -> list[Grid]:
    """The runs from fresh weights, and those of the same seeds from weights that had fitted other labels."""
    optimizers = [experiment["optimizer"], experiment["adversarial_optimizer"]]
    return [_grid(experiment, labels=[experiment["labels"]], optimizers=optimizers)]


def adversarial_start_runs(experiment: Config) -> list[Run]:
    """The runs of `adversarial_start_grids`."""
    return runs_of_grids(adversarial_start_grids(experiment))


def reference_grids(experiment: Config) -> list[Grid]:
    """The runs whose learning times say which examples are hard, of all networks of the experiment."""
    names = {"labels": [experiment["labels"]], "optimizers": [experiment["optimizer"]]}
    return [_grid(experiment, **names, seeds=experiment["reference_seeds"])]


def reference_runs(experiment: Config, dataset: str, model: str) -> list[Run]:
    """The runs whose learning times say which examples of `dataset` are hard for `model`."""
    return runs_of_grids(reference_grids({**experiment, "datasets": [dataset], "models": [model]}))


def easy_hard_grids(experiment: Config) -> list[Grid]:
    """The runs that are trained from fresh weights on the easy, the hard and the random part."""
    names = {"labels": [experiment["labels"]], "optimizers": [experiment["optimizer"]]}
    return [_grid(experiment, **names, subsets=[*SUBSETS])]


def easy_hard_runs(experiment: Config) -> list[Run]:
    """The runs of `easy_hard_grids`."""
    return runs_of_grids(easy_hard_grids(experiment))


def second_split_runs(experiment: Config, dataset: str, model: str) -> list[Run]:
    """For every reference run, the runs on either half of its training part and those that go on with the other half.

    They share the reference run's seed, and so its labels and first weights.
    """
    return [
        replace(run, subset=subset) for run in reference_runs(experiment, dataset, model) for subset in TRAINED_HALF
    ]


def difficulty_coherence_grids(experiment: Config) -> list[Grid]:
    """The runs along which easy, hard and random examples are measured: those on everything, and those on each part."""
    return reference_grids(experiment) + easy_hard_grids(experiment)


def difficulty_coherence_runs(experiment: Config) -> list[Run]:
    """The runs of `difficulty_coherence_grids`."""
    return runs_of_grids(difficulty_coherence_grids(experiment))


def all_runs(config: Config) -> list[Run]:
    """Every run of the study, each once, those that others start from included."""
    runs = label_noise_runs(config["label_noise"]) if makes(config, "label_noise") else []
    runs += contribution_runs(config)
    if makes(config, "easy_hard"):
        experiment = config["easy_hard"]
        for dataset, model in product(experiment["datasets"], experiment["models"]):
            runs += reference_runs(experiment, dataset, model)
            if makes(config, "second_split"):
                runs += second_split_runs(experiment, dataset, model)
        runs += easy_hard_runs(experiment)
    if makes(config, "sample_size"):
        runs += sample_size_runs(config["sample_size"])
    if makes(config, "sweep"):
        runs += sweep_runs(config["sweep"])
    if makes(config, "adversarial_start"):
        experiment = config["adversarial_start"]
        runs += adversarial_start_runs(experiment)
        for dataset, model in product(experiment["datasets"], experiment["models"]):  # they say which examples are easy
            runs += reference_runs(config["easy_hard"], dataset, model)
    for run in runs:  # grows while it is read: a source may have a source
        source = source_run(config, run)
        if source is not None and source not in runs:
            runs.append(source)
    return list(dict.fromkeys(runs))


def source_run(config: Config, run: Run) -> Run | None:
    """The run whose last weights `run` starts from, or None for fresh weights.

    A second stage goes on from its first; an optimiser with a `start` from other labels (adversarial initialisation).
    """
    if run.subset in FIRST_STAGE:
        return replace(run, subset=FIRST_STAGE[run.subset])
    start = config["optimizers"][run.optimizer].get("start")
    return None if start is None else replace(run, labels=start["labels"], optimizer=start["optimizer"])


def results_folder(config: Config) -> str:
    """The folder of the study, relative to the working directory."""
    return f"results/{config['study']}"
