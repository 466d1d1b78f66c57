"""Checks of a config before anything is planned: that it fits its schema, and what no JSON schema can say.

This module is read when Snakemake parses the workflow, so it imports nothing heavy.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import product
from typing import Any

from mcoherence.errors import UserError
from mcoherence.optim.methods import METHODS
from mcoherence.study.runs import Config, all_runs, makes, partly_random, swept_value
from mcoherence.study.settings import model_settings, optimizer_settings, training_of

FURTHER_EXPERIMENTS = ("sample_size", "adversarial_start")


def check_config(config: Config, schema: Config) -> None:
    """Check a config against its JSON schema.

    Raises:
        UserError: one line about the error that explains most: key, what was found, what was expected.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(schema).iter_errors(config))
    if error is None:
        return
    key = ".".join(str(part) for part in error.absolute_path) or "the config"
    expected = {
        "additionalProperties": f"only the keys {', '.join(error.schema.get('properties', {}))}",
        "enum": _choices(error.instance, error.validator_value) if error.validator == "enum" else "",
        "required": "all of the keys " + ", ".join(error.schema.get("required", [])),
        "type": f"a value of type {error.validator_value}",
    }.get(error.validator, error.message)
    found = error.message if error.validator in ("additionalProperties", "required") else repr(error.instance)
    raise UserError(
        f"config: {key}: found {found}; expected {expected}; every key is described in schemas/config.schema.json"
    )


def _choices(found: object, choices: list[Any]) -> str:
    """The values that a key can have; where they are many, those that are spelled like the one found."""
    names = [str(choice) for choice in choices]
    near = get_close_matches(str(found), names, n=5, cutoff=0.5) if len(names) > 20 else []
    return f"one of {len(names)} names, such as {', '.join(near)}" if near else f"one of {', '.join(names)}"


def check_references(config: Config) -> None:
    """Check what a JSON schema cannot: that every name stands for an entry, and that sizes fit together.

    Raises:
        UserError: naming the key, what was found and what was expected.
    """
    for name in ("sample_size", "adversarial_start", "sweep"):
        if makes(config, name) and name not in config:
            raise UserError(f"experiments: found {name}, expected a section of this name too; write one")
    for key, section in (
        ("label_noise.datasets", "datasets"),
        ("label_noise.models", "models"),
        ("label_noise.labels", "labels"),
        ("label_noise.optimizers", "optimizers"),
        ("easy_hard.datasets", "datasets"),
        ("easy_hard.models", "models"),
        ("easy_hard.labels", "labels"),
        ("easy_hard.optimizer", "optimizers"),
        *((f"{experiment}.{key}", key) for experiment in FURTHER_EXPERIMENTS for key in ("datasets", "models")),
        ("sweep.datasets", "datasets"),
        ("sweep.labels", "labels"),
        ("sweep.optimizer", "optimizers"),
        ("sample_size.labels", "labels"),
        ("sample_size.optimizer", "optimizers"),
        ("adversarial_start.labels", "labels"),
        ("adversarial_start.optimizer", "optimizers"),
        ("adversarial_start.adversarial_optimizer", "optimizers"),
        ("figures.reference_optimizer", "optimizers"),
    ):
        experiment, name = key.split(".")
        beside = {"label_noise": "contributions", "easy_hard": "adversarial_start"}.get(experiment)
        if not any(makes(config, name) for name in (experiment, beside) if name) and experiment != "figures":
            continue
        found = config[experiment][name]
        _check_names(key, [found] if isinstance(found, str) else found, section, config[section])
    _check_overrides(config)
    if makes(config, "contributions") and not partly_random(config)["labels"]:
        raise UserError(
            f"label_noise.labels: found {config['label_noise']['labels']}, expected one with a fraction between 0 and "
            "1 for the experiment contributions; add one, or take contributions out of experiments"
        )
    for name, dataset in config["datasets"].items():
        _check_dataset(f"datasets.{name}", dataset)
    for name, labels in config["labels"].items():
        if "transition" in labels:
            _check_transition(f"labels.{name}", labels)
    check_models(config)
    if makes(config, "bound") and not makes(config, "label_noise"):
        raise UserError(
            "experiments: found bound without label_noise, expected both, as it is of those runs; add label_noise"
        )
    for name, optimizer in config["optimizers"].items():
        _check_momentum(f"optimizers.{name}", optimizer)
        for model in optimizer.get("for_models", {}):
            _check_momentum(f"optimizers.{name}.for_models.{model}", optimizer_settings(config, name, model))
        groups = METHODS[optimizer["method"]].groups(optimizer)
        batch_size = min(
            training_of(config, dataset, model, name)["batch_size"]
            for dataset, model in product(config["datasets"], config["models"])
        )
        if batch_size < groups:
            raise UserError(
                f"training.batch_size: found {batch_size}, expected at least the {groups} groups of "
                f"optimizers.{name}; raise it"
            )
    _check_starts(config)
    if makes(config, "sweep"):
        _check_sweep(config)
    for name in ("second_split", "difficulty_coherence"):
        if makes(config, name) and not makes(config, "easy_hard"):
            raise UserError(
                f"experiments: found {name} without easy_hard, whose section describes its runs; add easy_hard"
            )
    _check_ranks(config)
    overlap = set(config["easy_hard"]["seeds"]) & set(config["easy_hard"]["reference_seeds"])
    if overlap:
        raise UserError(
            f"easy_hard.seeds: found {sorted(overlap)}, which are reference_seeds too, expected fresh weights; "
            "choose other seeds"
        )


def _check_overrides(config: Config) -> None:
    """Check that what is said of single entries, and of further combinations, names entries."""
    for section in ("datasets", "models", "optimizers"):
        key = f"training.for_{section}"
        _check_names(key, config["training"].get(f"for_{section}", {}), section, config[section])
    for name, optimizer in config["optimizers"].items():
        _check_names(f"optimizers.{name}.for_models", optimizer.get("for_models", {}), "models", config["models"])
    if makes(config, "label_noise"):
        for number, other in enumerate(config["label_noise"].get("further", [])):
            for section in set(other) - {"seeds"}:
                _check_names(f"label_noise.further.{number}.{section}", other[section], section, config[section])
    if makes(config, "adversarial_start"):
        name = config["adversarial_start"]["adversarial_optimizer"]
        if "start" not in config["optimizers"].get(name, {"start": None}):
            raise UserError(
                f"adversarial_start.adversarial_optimizer: found {name!r}, which starts from fresh weights, expected "
                f"an optimiser with a start; set optimizers.{name}.start"
            )


def _check_sweep(config: Config) -> None:
    """Check that the networks of a sweep have the swept setting, each another value of it."""
    for setting, models in config["sweep"]["models"].items():
        key = f"sweep.models.{setting}"
        _check_names(key, models, "models", config["models"])
        values: dict[float, str] = {}
        for model in models:
            value = swept_value(config["models"][model], setting)
            if value is None:
                shown = {"width": "hidden layers of one width", "depth": "a list of hidden layers"}
                expected = shown.get(setting, f"a number {setting}")
                raise UserError(f"{key}: found models.{model} without {expected}, expected it there; set it")
            if value in values:
                raise UserError(
                    f"{key}: found {setting} {value:g} in both models.{values[value]} and models.{model}, expected "
                    "another value in each; take one out"
                )
            values[value] = model


def _check_starts(config: Config) -> None:
    """Check that every `start` of an optimiser names entries, and leads to a run from fresh weights in the end."""
    optimizers = config["optimizers"]
    starts = {name: entry["start"] for name, entry in optimizers.items() if "start" in entry}
    for name, start in starts.items():
        _check_names(f"optimizers.{name}.start.labels", [start["labels"]], "labels", config["labels"])
        _check_names(f"optimizers.{name}.start.optimizer", [start["optimizer"]], "optimizers", optimizers)
    for name in starts:
        seen = [name]
        while seen[-1] in starts:
            source = starts[seen[-1]]["optimizer"]
            if source in seen:
                raise UserError(
                    f"optimizers.{name}.start: found a circle ({' from '.join([*seen, source])}), expected a chain "
                    "that ends with an optimiser that starts from fresh weights; remove one start"
                )
            seen.append(source)


def _check_dataset(key: str, dataset: Config) -> None:
    if dataset["source"] == "folder" and dataset["resize"] < dataset["size"]:
        raise UserError(
            f"{key}.resize: found {dataset['resize']}, expected at least the size {dataset['size']} that is cut out of "
            "it; raise it"
        )
    for part in ("train_size", "test_size") if dataset["source"] == "glyphs" else ():
        if dataset[part] < dataset.get("classes", 0):
            raise UserError(
                f"{key}.{part}: found {dataset[part]}, expected at least one image of each of the "
                f"{dataset['classes']} classes; raise it"
            )
    for name in ("crop_scale", "crop_ratio"):
        bounds = dataset.get("augmentation", {}).get(name)
        if bounds is not None and bounds[0] > bounds[1]:
            raise UserError(f"{key}.augmentation.{name}: found {bounds}, expected the lower bound first; swap them")


def _check_transition(key: str, labels: Config) -> None:
    scheme, transition = labels.get("scheme", "uniform"), labels["transition"]
    if scheme != "class_conditional":
        raise UserError(f"{key}.transition: found one with scheme {scheme}, expected it with class_conditional only")
    for number, row in enumerate(transition if isinstance(transition, list) else []):
        if len(row) != len(transition):
            raise UserError(
                f"{key}.transition: row {number} has {len(row)} numbers, expected {len(transition)}, as many as rows"
            )
        if abs(sum(row) - 1.0) > 1e-6:
            raise UserError(f"{key}.transition: row {number} adds up to {sum(row)}, expected 1; correct it")


def check_models(config: Config) -> None:
    """Check that the code of every network of the user's own is there; UserError naming the key where it is not."""
    for name in config["models"]:
        try:
            model_settings(config, name)
        except UserError as error:
            raise UserError(f"models.{name}.architecture: {error}") from error


def _check_names(key: str, found: Iterable[str], section: str, entries: Mapping[str, Any]) -> None:
    for name in found:
        if name not in entries:
            raise UserError(f"{key}: found {name!r}, expected an entry of {section} ({', '.join(entries)})")


def _check_ranks(config: Config) -> None:
    """Check that no run is to be shared out by several processes whose optimiser needs all examples in one."""
    ranks = config.get("operational", {}).get("ranks", 1)
    for name in dict.fromkeys(run.optimizer for run in all_runs(config)) if ranks > 1 else ():
        if METHODS[config["optimizers"][name]["method"]].one_rank:
            raise UserError(
                f"operational.ranks: found {ranks}, expected 1 for optimizers.{name}, which needs the gradients of all "
                "examples in one place; set it to 1, or leave that optimiser out"
            )


def _check_momentum(key: str, optimizer: Mapping[str, Any]) -> None:
    method, momentum = METHODS[optimizer["method"]], optimizer.get("momentum", 0)
    if "momentum" in optimizer and not method.has_momentum:
        raise UserError(
            f"{key}.momentum: found {momentum}, expected none: {optimizer['method']} has no such setting; remove it"
        )
    if momentum and not optimizer.get("allow_momentum", method.allows_momentum):
        raise UserError(
            f"{key}.momentum: found {momentum}, expected 0: the papers leave it out, unstable with a median of "
            "gradients; set allow_momentum: true to try it all the same"
        )
    if optimizer.get("nesterov") and not momentum:
        raise UserError(f"{key}.nesterov: found true, expected false, since momentum is 0; set momentum")
