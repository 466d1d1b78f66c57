"""A validated config -> the runs it asks for, each with only the settings it depends on.

This module is read when Snakemake parses the workflow, so it imports nothing heavy. A settings object that it hands
out holds what one rule depends on and nothing else: that is what makes re-runs precise.
"""

from dataclasses import asdict
from itertools import product
from typing import Any

from mcoherence.study.data_sizes import size_of
from mcoherence.study.network_code import network_code
from mcoherence.study.runs import (
    FULL,
    Config,
    Grid,
    Run,
    adversarial_start_grids,
    difficulty_coherence_grids,
    easy_hard_grids,
    label_noise_grids,
    label_noise_runs,
    makes,
    partly_random,
    reference_grids,
    reference_runs,
    results_folder,
    sample_size_grids,
    sweep_grids,
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


def grids_of_table(config: Config, table: str) -> list[Grid]:
    """The runs whose rows a table has, in its order."""
    easy_hard = config["easy_hard"]
    if table in ("difficulty", "difficulty_agreement"):
        return reference_grids(easy_hard)
    if table == "easy_hard":
        return easy_hard_grids(easy_hard)
    if table == "difficulty_coherence":
        return difficulty_coherence_grids(easy_hard)
    if table == "sample_size":
        return sample_size_grids(config[table])
    if table == "sweep":
        return sweep_grids(config[table])
    if table == "adversarial_start":
        return adversarial_start_grids(config[table])
    return label_noise_grids(partly_random(config) if table == "contributions" else config["label_noise"])


def own_settings_of_table(config: Config, table: str) -> dict[str, Any]:
    """What a table depends on besides its runs and the noise of their labels, by the names of its arguments."""
    if table == "overfit":
        return {"winsorization": winsorization(config)}
    if table == "difficulty":
        return {"second_split": makes(config, "second_split")}
    if table == "difficulty_agreement":
        return {"fraction": config["easy_hard"]["fraction"]}
    if table == "sample_size":
        return {"sizes": config[table]["sizes"]}
    if table == "adversarial_start":
        return {"optimizer": config[table]["optimizer"]}
    if table == "sweep":
        values = {
            setting: {name: swept_value(config["models"][name], setting) for name in models}
            for setting, models in config[table]["models"].items()
        }
        return {"values": values, "first_step": config["claims"]["first_step"]}
    return {}


def table_settings(config: Config, table: str) -> dict[str, Any]:
    """What one table depends on: the runs whose results it gathers, the noise of their labels, and what is its own."""
    grids = grids_of_table(config, table)
    return {
        "results": results_folder(config),
        "grids": grids,
        "noise": {name: config["labels"][name]["fraction"] for grid in grids for name in grid["labels"]},
        "own": own_settings_of_table(config, table),
    }


# What makes each table that the claims are tested on: what a study without it does not make.
EXPERIMENT_OF_TABLE = {
    "accuracy": "label_noise",
    "coherence": "label_noise",
    "learning_time": "label_noise",
    "group_alignment": "label_noise",
    "overfit": "label_noise",
    "early_stopping": "label_noise",
    "contributions": "contributions",
    "easy_hard": "easy_hard",
    "difficulty": "easy_hard",
    "difficulty_agreement": "easy_hard",
    "difficulty_coherence": "difficulty_coherence",
    "sample_size": "sample_size",
    "sweep": "sweep",
    "toy": "toy",
}


def claim_settings(config: Config) -> dict[str, Any]:
    """What the check of the claims depends on besides the tables."""
    runs = label_noise_runs(config["label_noise"])
    optimizers, datasets = (dict.fromkeys(getattr(run, name) for run in runs) for name in ("optimizer", "dataset"))
    return {
        **config["claims"],
        "experiments": EXPERIMENT_OF_TABLE,
        "methods": {name: config["optimizers"][name]["method"] for name in optimizers},
        "architectures": {name: model["architecture"] for name, model in config["models"].items()},
        "image_sides": {name: max(size_of(config["datasets"][name]).shape[1:]) for name in datasets},
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
