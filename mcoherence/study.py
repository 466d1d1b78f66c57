"""A validated config -> the runs it asks for, each with only the settings it depends on.

This module is read when Snakemake parses the workflow, so it imports nothing heavy. A settings object that it hands
out holds what one rule depends on and nothing else: that is what makes re-runs precise.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from itertools import count, product, takewhile
from typing import Any

from mcoherence.data.subsets import FIRST_STAGE, SUBSETS, TRAINED_HALF
from mcoherence.errors import UserError
from mcoherence.network_code import network_code

FULL = "full"
FURTHER_EXPERIMENTS = ("sample_size", "adversarial_start")
OPERATIONAL = ("device", "operational", "data_folder", "download")  # keys of the config that never re-run anything
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

    def labels_path(self, results: str) -> str:
        """The labels.h5 that the run trains on."""
        return f"{results}/data/{self.dataset}/labels/{self.labels}/seed{self.seed}/labels.h5"


def makes(config: Config, experiment: str) -> bool:
    """Whether the study makes the experiment of this name."""
    return experiment in config["experiments"]


def label_noise_runs(experiment: Config) -> list[Run]:
    """The runs of the label-noise experiment, each once, on the full training part.

    Every combination of its entries; and for each of `further` the same with other entries in place of some.
    """
    grids = [experiment, *({**experiment, **other} for other in experiment.get("further", []))]
    return list(dict.fromkeys(run for grid in grids for run in _combinations(grid)))


def _combinations(grid: Config) -> list[Run]:
    axes = (grid[key] for key in ("datasets", "models", "labels", "optimizers", "seeds"))
    return [
        Run(dataset, model, labels, optimizer, FULL, seed) for dataset, model, labels, optimizer, seed in product(*axes)
    ]


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


def sample_size_runs(experiment: Config) -> list[Run]:
    """The runs whose coherence is measured on samples of several sizes."""
    return _combinations({**experiment, "optimizers": [experiment["optimizer"]]})


def adversarial_start_runs(experiment: Config) -> list[Run]:
    """The runs from fresh weights, and those of the same seeds from weights that had fitted other labels."""
    grid = {**experiment, "labels": [experiment["labels"]]}
    return _combinations({**grid, "optimizers": [experiment["optimizer"], experiment["adversarial_optimizer"]]})


def reference_runs(experiment: Config, dataset: str, model: str) -> list[Run]:
    """The runs whose learning times say which examples of `dataset` are hard for `model`."""
    names = (dataset, model, experiment["labels"], experiment["optimizer"], FULL)
    return [Run(*names, seed) for seed in experiment["reference_seeds"]]


def easy_hard_runs(experiment: Config) -> list[Run]:
    """The runs that are trained from fresh weights on the easy, the hard and the random part."""
    axes = (experiment["datasets"], experiment["models"], SUBSETS, experiment["seeds"])
    names = (experiment["labels"], experiment["optimizer"])
    return [Run(dataset, model, *names, subset, seed) for dataset, model, subset, seed in product(*axes)]


def second_split_runs(experiment: Config, dataset: str, model: str) -> list[Run]:
    """For every reference run, the runs on either half of its training part and those that go on with the other half.

    They share the reference run's seed, and so its labels and first weights.
    """
    return [
        replace(run, subset=subset) for run in reference_runs(experiment, dataset, model) for subset in TRAINED_HALF
    ]


def difficulty_coherence_runs(experiment: Config) -> list[Run]:
    """The runs along which easy, hard and random examples are measured: those on everything, and those on each part."""
    networks = product(experiment["datasets"], experiment["models"])
    references = [run for dataset, model in networks for run in reference_runs(experiment, dataset, model)]
    return references + easy_hard_runs(experiment)


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


def checkpoint_schedule(updates: int, every_step_until: int, per_doubling: int, every: int | None = None) -> list[int]:
    """Ascending numbers of updates, at most `updates`, after which every run is saved, whatever its segments are.

    Whether a number belongs to the schedule does not depend on `updates`, so that longer training moves no checkpoint.

    Args:
        updates: number of updates of the run.
        every_step_until: 0, 1, ..., every_step_until all belong to it.
        per_doubling: from there on, this many to each doubling, evenly spaced on a log axis.
        every: once that spacing would exceed this number of updates, its multiples instead; None: log-spaced for ever.
    """
    steps = _endless_schedule(every_step_until, per_doubling, every)
    return list(takewhile(lambda step: step <= updates, steps))


def _endless_schedule(every_step_until: int, per_doubling: int, every: int | None) -> Iterator[int]:
    """The steps of `checkpoint_schedule` for training without an end."""
    yield from range(every_step_until + 1)
    last = every_step_until
    for number in count(1):
        step = round(max(every_step_until, 1) * 2 ** (number / per_doubling))
        if every is not None and step - last > every:
            yield from count((last // every + 1) * every, every)
        if step > last:
            yield step
            last = step


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


def segments(training: Config) -> list[tuple[int, int]]:
    """(start, stop) of the segments that training runs in, in updates: (0, s], (s, 2s], ..., a shorter last one.

    A segment is what it is by its start and stop alone, so that more updates leave the earlier ones as they are.
    """
    updates = training["updates"]
    length = training.get("segment_updates", updates)
    return [(start, min(start + length, updates)) for start in range(0, updates, length)]


def segment_checkpoints(training: Config, start: int, stop: int) -> list[int]:
    """Numbers of updates at which the segment (start, stop] saves the run; its last one always, 0 in the first one."""
    schedule = checkpoint_schedule(stop, **training["checkpoints"])
    return sorted({step for step in schedule if step > start or start == 0} | {stop})


def checkpoint_steps(training: Config) -> list[int]:
    """Numbers of updates at which a run is saved, over all of its segments."""
    return sorted({step for segment in segments(training) for step in segment_checkpoints(training, *segment)})


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


def source_run(config: Config, run: Run) -> Run | None:
    """The run whose last weights `run` starts from, or None for fresh weights.

    A second stage goes on from its first; an optimiser with a `start` from other labels (adversarial initialisation).
    """
    if run.subset in FIRST_STAGE:
        return replace(run, subset=FIRST_STAGE[run.subset])
    start = config["optimizers"][run.optimizer].get("start")
    return None if start is None else replace(run, labels=start["labels"], optimizer=start["optimizer"])


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
    optimizers = dict.fromkeys(run.optimizer for run in label_noise_runs(config["label_noise"]))
    return {
        **config["claims"],
        "methods": {name: config["optimizers"][name]["method"] for name in optimizers},
        "architectures": {name: model["architecture"] for name, model in config["models"].items()},
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


def results_folder(config: Config) -> str:
    """The folder of the study, relative to the working directory."""
    return f"results/{config['study']}"


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
        if optimizer["method"] == "m3":
            batch_size = min(
                training_of(config, dataset, model, name)["batch_size"]
                for dataset, model in product(config["datasets"], config["models"])
            )
            if batch_size < optimizer["groups"]:
                raise UserError(
                    f"training.batch_size: found {batch_size}, expected at least the {optimizer['groups']} groups of "
                    f"optimizers.{name}; raise it"
                )
    _check_starts(config)
    for name in ("second_split", "difficulty_coherence"):
        if makes(config, name) and not makes(config, "easy_hard"):
            raise UserError(
                f"experiments: found {name} without easy_hard, whose section describes its runs; add easy_hard"
            )
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


def _check_momentum(key: str, optimizer: Mapping[str, Any]) -> None:
    momentum = optimizer.get("momentum", 0)
    if momentum and not optimizer.get("allow_momentum", optimizer["method"] in ("sgd", "winsorized")):
        raise UserError(
            f"{key}.momentum: found {momentum}, expected 0: the papers leave it out, unstable with a median of "
            "gradients; set allow_momentum: true to try it all the same"
        )
    if optimizer.get("nesterov") and not momentum:
        raise UserError(f"{key}.nesterov: found true, expected false, since momentum is 0; set momentum")
