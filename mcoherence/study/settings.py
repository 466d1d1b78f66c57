"""A validated config -> the runs it asks for, each with only the settings it depends on.

This module is read when Snakemake parses the workflow, so it imports nothing heavy. A settings object that it hands
out holds what one rule depends on and nothing else: that is what makes re-runs precise.
"""

from dataclasses import asdict
from itertools import product
from typing import Any

from mcoherence.data.image_shapes import image_shape
from mcoherence.study.network_code import network_code
from mcoherence.study.runs import (
    FULL,
    Config,
    Run,
    label_noise_runs,
    makes,
    partly_random,
    reference_runs,
    results_folder,
    swept_value,
    winsorization,
)
from mcoherence.study.segments import checkpoint_schedule, segment_checkpoints, segments

OPERATIONAL = ("device", "operational", "data_folder", "download")  # keys of the config that never re-run anything


def training_of(config: Config, dataset: str, model: str, optimizer: str) -> dict[str, Any]:
    """How the runs of these entries are trained: like all runs, but for what is said of data set, model, optimiser.

    The optimiser has the last word, before it the model. `checkpoints` are joined key by key, others are replaced.
    """
    training = dict(config["training"])
    others = [training.pop(f"for_{key}", {}) for key in ("datasets", "models", "optimizers")]
    for name, entries in zip((dataset, model, optimizer), others, strict=True):
        other = entries.get(name, {})
        checkpoints = {**training.get("checkpoints", {}), **other.get("checkpoints", {})}
        training = {**training, **other, "checkpoints": checkpoints}
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


def preparation_settings(config: Config, dataset: str) -> dict[str, Any]:
    """What the prepared images of a data set depend on: its entry, but for what is done to batches later on."""
    return {key: value for key, value in config["datasets"][dataset].items() if key != "augmentation"}


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
    """What one segment of a run depends on besides its files; those of `training.TrainingSettings`, and more."""
    training = training_of_run(config, run)
    return {
        "model": model_settings(config, run.model),
        "optimizer": optimizer_settings(config, run.optimizer, run.model),
        "batch_size": training["batch_size"],
        "precision": training.get("precision", "float32"),
        "augmentation": config["datasets"][run.dataset].get("augmentation"),
        "start": start,
        "stop": stop,
        "checkpoint_steps": segment_checkpoints(training, start, stop),
        "seed": run.seed,
        "run": asdict(run),
    }


def measurement_settings(config: Config, subset: str) -> dict[str, Any]:
    """What the measurement of a run depends on besides its files."""
    return {**config["measurement"], "subset": subset}


def contribution_settings(config: Config) -> dict[str, Any]:
    """What the measurement of the contributions of a run depends on besides its files."""
    measurement = {key: value for key, value in config["measurement"].items() if key != "heldout_size"}
    return {**measurement, **config["contributions"]}


def sample_size_settings(config: Config, size: int) -> dict[str, Any]:
    """What the measurement of a run on a sample of another size depends on besides its files."""
    return {**measurement_settings(config, FULL), "sample_size": size}


def difficulty_settings(config: Config, dataset: str, model: str) -> dict[str, Any]:
    """What the difficulty scores of one data set and model depend on besides their files."""
    return {"reference_seeds": [run.seed for run in reference_runs(config["easy_hard"], dataset, model)]}


def split_settings(config: Config) -> dict[str, Any]:
    """What the easy/hard split depends on besides the scores."""
    return {key: config["easy_hard"][key] for key in ("fraction", "test_fraction", "split_seed", "within_class")}


def halves_settings(config: Config) -> dict[str, Any]:
    """What the halves of second-split forgetting depend on besides the number of examples."""
    return {"split_seed": config["easy_hard"]["split_seed"]}


EASY_HARD_RUNS = ("datasets", "models", "labels", "optimizer")
EASY_HARD_KEYS = {  # table of easy and hard examples: the keys of its experiment that it depends on
    "easy_hard": (*EASY_HARD_RUNS, "seeds"),
    "difficulty": (*EASY_HARD_RUNS, "reference_seeds"),
    "difficulty_agreement": (*EASY_HARD_RUNS, "reference_seeds", "fraction"),
    "difficulty_coherence": (*EASY_HARD_RUNS, "reference_seeds", "seeds"),
}


# What the tables that are not made from the runs of the label-noise experiment are made from: its keys that they need.
TABLE_KEYS = {
    "sample_size": ("datasets", "models", "labels", "optimizer", "seeds", "sizes"),
    "adversarial_start": ("datasets", "models", "labels", "optimizer", "adversarial_optimizer", "seeds"),
    "sweep": ("datasets", "models", "labels", "optimizer", "seeds"),
}


def table_settings(config: Config, table: str) -> dict[str, Any]:
    """What one table depends on: the experiment whose runs it gathers, and the noise of its label sets."""
    if table in EASY_HARD_KEYS:
        experiment = {key: config["easy_hard"][key] for key in EASY_HARD_KEYS[table]}
    elif table in TABLE_KEYS:
        experiment = {key: config[table][key] for key in TABLE_KEYS[table]}
    else:
        experiment = partly_random(config) if table == "contributions" else dict(config["label_noise"])
    labels = experiment["labels"]
    names = [labels] if isinstance(labels, str) else labels
    if table not in EASY_HARD_KEYS and table not in TABLE_KEYS:
        names = list(dict.fromkeys(run.labels for run in label_noise_runs(experiment)))
    if table == "difficulty":
        experiment["second_split"] = makes(config, "second_split")
    if table == "sweep":
        experiment["values"] = {
            setting: {name: swept_value(config["models"][name], setting) for name in models}
            for setting, models in experiment["models"].items()
        }
        experiment["first_step"] = config["claims"]["first_step"]
    if table == "overfit":
        experiment["winsorization"] = winsorization(config)
    return {
        "table": table,
        "results": results_folder(config),
        "experiment": experiment,
        "noise": {name: config["labels"][name]["fraction"] for name in names},
    }


def claim_settings(config: Config) -> dict[str, Any]:
    """What the check of the claims depends on besides the tables."""
    runs = label_noise_runs(config["label_noise"])
    optimizers, datasets = (dict.fromkeys(getattr(run, name) for run in runs) for name in ("optimizer", "dataset"))
    return {
        **config["claims"],
        "methods": {name: config["optimizers"][name]["method"] for name in optimizers},
        "architectures": {name: model["architecture"] for name, model in config["models"].items()},
        "image_sides": {name: max(image_shape(config["datasets"][name])[1:]) for name in datasets},
    }


def toy_settings(config: Config) -> dict[str, Any]:
    """What the regressions of the experiment toy depend on."""
    toy = config["toy"]
    steps = checkpoint_schedule(toy["steps"], **toy["checkpoints"])
    return {"lr": toy["lr"], "checkpoint_steps": sorted({*steps, toy["steps"]})}


def bound_settings(config: Config) -> dict[str, Any]:
    """What the bound depends on besides tables: assumed smoothness, and the rates of the optimisers it holds for."""
    names = config["label_noise"]["optimizers"]
    optimizers = {name: config["optimizers"][name] for name in names if _is_plain_sgd(config["optimizers"][name])}
    rates = {
        name: {key: entry[key] for key in ("lr", "schedule") if key in entry} for name, entry in optimizers.items()
    }
    return {**config["bound"], "optimizers": rates}


def _is_plain_sgd(optimizer: Config) -> bool:
    """Whether an optimiser is the one of the bound's proof: gradients of mini-batches alone, from fresh weights."""
    others = any(optimizer.get(key) for key in ("momentum", "weight_decay", "start"))
    return optimizer["method"] == "sgd" and not others


def scientific(config: Config) -> dict[str, Any]:
    """The config without what only says how jobs run; that decides no number, so no result may depend on it."""
    return {key: value for key, value in config.items() if key not in OPERATIONAL}
