"""What each rule depends on, and nothing else: that is what makes re-runs precise."""

from dataclasses import asdict
from itertools import product
from typing import Any

from mcoherence.data.image_shapes import image_shape
from mcoherence.optim.methods import METHODS
from mcoherence.study.catalogue import EXPERIMENT_OF_TABLE, TABLES, all_runs, reference_runs
from mcoherence.study.coverage import what_intervals_cover
from mcoherence.study.experiments import label_noise
from mcoherence.study.network_code import network_code
from mcoherence.study.runs import Config, Run, results_folder, runs_of_grids
from mcoherence.study.segments import segment_checkpoints, segments

OPERATIONAL_KEYS = ("device", "operational", "data_folder", "download")  # keys of the config that never re-run anything


def training_of(config: Config, dataset: str, model: str, optimizer: str) -> dict[str, Any]:
    """How the runs of these entries are trained: like all runs, but for what is said of data set, model, optimiser.

    The optimiser has the last word, before it the model. `checkpoints` are joined key by key, `updates_factor`
    multiplies the updates, others are replaced.
    """
    training = dict(config["training"])
    others = [training.pop(f"for_{key}", {}) for key in ("datasets", "models", "optimizers")]
    for name, entries in zip((dataset, model, optimizer), others, strict=True):
        other = dict(entries.get(name, {}))
        factor = other.pop("updates_factor", 1)
        checkpoints = {**training.get("checkpoints", {}), **other.get("checkpoints", {})}
        training = {**training, **other, "checkpoints": checkpoints}
        training["updates"] *= factor
    return training


def training_of_run(config: Config, run: Run) -> dict[str, Any]:
    """How one run is trained."""
    return training_of(config, run.dataset, run.model, run.optimizer)


def training_jobs(config: Config) -> list[tuple[dict[str, Any], list[tuple[str, str, str]]]]:
    """The ways to train that differ in segments or checkpoints, each with its (data set, model, optimiser)s.

    Jobs of one way write the same files, so that one rule per segment serves them. That of most entries comes first.
    """
    ways: dict[str, tuple[dict[str, Any], list[tuple[str, str, str]]]] = {}
    for names in product(config["datasets"], config["models"], config["optimizers"]):
        training = training_of(config, *names)
        files = str((segments(training), training["checkpoints"]))
        ways.setdefault(files, (training, []))[1].append(names)
    return sorted(ways.values(), key=lambda way: -len(way[1]))


def preparation_settings(config: Config, dataset: str, seed: int | None = None) -> dict[str, Any]:
    """What the prepared images of a data set depend on: its entry, but for what is done to batches later on.

    Of a user's own the code of its function is among them.

    Args:
        config: of the study.
        dataset: its entry.
        seed: of the runs whose own split it is, whose images are those of the sum of this seed and the entry's.
    """
    entry = {key: value for key, value in config["datasets"][dataset].items() if key not in ("augmentation", "split")}
    if ":" in entry["source"]:
        entry["code"] = network_code(entry["source"])
    return entry if seed is None else {**entry, "seed": entry.get("seed", 0) + seed, "split": "by_seed"}


def corruption_settings(config: Config, labels: str, seed: int) -> dict[str, Any]:
    """What the labels of one label set and seed depend on."""
    return {"seed": seed, **config["labels"][labels]}


def model_settings(config: Config, model: str) -> dict[str, Any]:
    """What a network depends on: its entry, and the code of a user's own network."""
    entry = config["models"][model]
    own = ":" in entry["architecture"]
    return {**entry, "code": network_code(entry["architecture"])} if own else dict(entry)


def optimizer_settings(config: Config, optimizer: str, model: str) -> dict[str, Any]:
    """What an optimiser does to a model: its entry, but for what that says of the model alone."""
    entry = dict(config["optimizers"][optimizer])
    others = entry.pop("for_models", {})
    return {**entry, **others.get(model, {})}


def training_settings(config: Config, run: Run, start: int, stop: int) -> dict[str, Any]:
    """What one segment of a run depends on besides its files; those of `training.TrainingSettings`, and more.

    What the entry of the method decides of an update is among them, so that an edit of the entries re-runs what it
    changes and nothing else.
    """
    training, optimizer = training_of_run(config, run), optimizer_settings(config, run.optimizer, run.model)
    method = METHODS[optimizer["method"]]
    return {
        "model": model_settings(config, run.model),
        "optimizer": optimizer,
        "mini_batches": method.mini_batches(optimizer),
        "groups": method.groups(optimizer),
        "batch_size": training["batch_size"],
        "precision": training.get("precision", "float32"),
        "tf32": training.get("tf32", False),
        "augmentation": config["datasets"][run.dataset].get("augmentation"),
        "start": start,
        "stop": stop,
        "checkpoint_steps": segment_checkpoints(training, start, stop),
        "seed": run.seed,
        "run": asdict(run),
    }


def difficulty_settings(config: Config, dataset: str, model: str) -> dict[str, Any]:
    """What the difficulty scores of one data set and model depend on besides their files."""
    return {"reference_seeds": [run.seed for run in reference_runs(config, dataset, model)]}


def split_settings(config: Config) -> dict[str, Any]:
    """What the easy/hard split depends on besides the scores."""
    return {key: config["easy_hard"][key] for key in ("fraction", "test_fraction", "split_seed", "within_class")}


def halves_settings(config: Config) -> dict[str, Any]:
    """What the halves of second-split forgetting depend on besides the number of examples."""
    return {"split_seed": config["easy_hard"]["split_seed"]}


def table_settings(config: Config, table: str) -> dict[str, Any]:
    """What one table depends on: the runs whose files it gathers, the noise of their labels, and what is its own.

    `files` are those of these runs, `further` those of others, `tables` other tables.
    """
    grids = TABLES[table].runs(config)
    own, *further = TABLES[table].needed(config)
    labels = dict.fromkeys(name for grid in grids for name in grid["labels"])
    return {
        "results": results_folder(config),
        "grids": list(grids),
        "noise": {name: config["labels"][name]["fraction"] for name in labels},
        "own": TABLES[table].own(config),
        "files": list(own.files),
        "further": [{"runs": list(one.runs), "files": list(one.files)} for one in further],
        "tables": list(TABLES[table].tables),
    }


def claim_settings(config: Config) -> dict[str, Any]:
    """What the check of the claims depends on besides the tables."""
    runs = runs_of_grids(label_noise.grids(config))
    optimizers, datasets = (dict.fromkeys(getattr(run, name) for run in runs) for name in ("optimizer", "dataset"))
    trained = dict.fromkeys((run.optimizer, run.model) for run in all_runs(config))
    rates: dict[str, dict[str, float]] = {}
    for optimizer, model in trained:
        rates.setdefault(optimizer, {})[model] = optimizer_settings(config, optimizer, model)["lr"]
    return {
        "first_step": None,  # each curve says it, unless the study does
        **config["claims"],
        "methods": {name: config["optimizers"][name]["method"] for name in optimizers},
        "rates": rates,
        "suppressing": [name for name in optimizers if METHODS[config["optimizers"][name]["method"]].suppresses],
        "robust": [name for name in optimizers if METHODS[config["optimizers"][name]["method"]].robust],
        "architectures": {name: model["architecture"] for name, model in config["models"].items()},
        "experiments": EXPERIMENT_OF_TABLE,
        "cover": what_intervals_cover(config),
        "image_sides": {name: max(image_shape(config["datasets"][name])[1:]) for name in datasets},
    }


def scientific(config: Config) -> dict[str, Any]:
    """The config without what only says how jobs run; that decides no number, so no result may depend on it."""
    return {key: value for key, value in config.items() if key not in OPERATIONAL_KEYS}
