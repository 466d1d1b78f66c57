"""Checks of a config before anything is planned: that it fits its schema, and what no JSON schema can say."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from math import ceil, inf, isfinite, log2
from typing import Any

from mcoherence.data.subsets import split_counts
from mcoherence.errors import UserError
from mcoherence.optim.methods import METHODS
from mcoherence.optim.one_rank import refuse_ranks
from mcoherence.study.catalogue import EXPERIMENTS, all_runs, results_of, scored_networks
from mcoherence.study.config_files import SECTIONS_OF_ENTRIES
from mcoherence.study.data_sizes import KNOWN
from mcoherence.study.experiment import require_entries
from mcoherence.study.result_names import FULL, OTHER_SAMPLE
from mcoherence.study.runs import Config, Run
from mcoherence.study.settings import model_settings, optimizer_settings, training_of
from mcoherence.study.subset_sizes import known_classes, known_size, split_shares, trained_examples

TYPES = {
    "number": "a value of type number",
    "integer": "a value of type integer, without a point",
    "string": "text, in quotes where it looks like a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "keys with values",
}
LONGEST_FOUND = 200  # characters of what was found that a message repeats

# Keys of the config that are resources of training under the same name.
OWN_KEYS = (
    "device", "ranks", "resume_interval", "workers", "images_memory_mb", "channels_last", "compile", "deterministic",
    "jobs_per_gpu", "fork_jobs", "checkpoints_per_job", "examples_per_shard",
)  # fmt: skip
PLAIN_WORDS = r"[\w.:,=@/+%-]+( [\w.:,=@/+%-]+)*"


def check_config(config: Config, schema: Config) -> None:
    """Check a config against its JSON schema.

    Raises:
        UserError: one line about the error that explains most: key, what was found, what was expected.
    """
    from jsonschema import Draft202012Validator, validators
    from jsonschema.exceptions import best_match

    _check_finite(config, ())
    # JSON's 3.0 is an integer, but here it would name files and count steps.
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    error = best_match(validators.extend(Draft202012Validator, type_checker=types)(schema).iter_errors(config))
    if error is None:
        return
    key = ".".join(str(part) for part in error.absolute_path) or "the config"
    found = "nothing" if error.instance is None else repr(error.instance)
    if error.validator in ("additionalProperties", "required"):
        found = error.message
    found = found if len(found) <= LONGEST_FOUND else f"{found[:LONGEST_FOUND]} ..."
    of_entry = error.validator == "required" and len(error.absolute_path) == 2
    if of_entry and error.absolute_path[0] in SECTIONS_OF_ENTRIES:
        found += " of an entry, which takes the place of the default's whole"
    raise UserError(
        f"config: {key}: found {found}; expected {_expected(error)}; every key is described in "
        "schemas/config.schema.json"
    )


def _check_finite(value: Any, key: tuple[str, ...]) -> None:
    """Refuse NaN and infinity, which JSON, the hand that settings pass through, has no word for."""
    if isinstance(value, float) and not isfinite(value):
        raise UserError(f"config: {'.'.join(key)}: found {value}; expected a finite number")
    if isinstance(value, Mapping):
        for name, one in value.items():
            _check_finite(one, (*key, str(name)))
    elif isinstance(value, list):
        for place, one in enumerate(value):
            _check_finite(one, (*key, str(place)))


def _expected(error: Any) -> str:
    """What a key of the schema that a value does not fit asks for, in a person's words."""
    wanted = error.validator_value
    words: dict[str, Callable[[], str]] = {
        "additionalProperties": lambda: f"only the keys {', '.join(error.schema.get('properties', {}))}",
        "enum": lambda: _choices(error.instance, wanted),
        "const": lambda: str(wanted),
        "required": lambda: "all of the keys " + ", ".join(error.schema.get("required", [])),
        "type": lambda: " or ".join(TYPES.get(one, one) for one in ([wanted] if isinstance(wanted, str) else wanted)),
        "minimum": lambda: f"at least {wanted}",
        "exclusiveMinimum": lambda: f"more than {wanted}",
        "maximum": lambda: f"at most {wanted}",
        "exclusiveMaximum": lambda: f"less than {wanted}",
        "minItems": lambda: f"at least {_counted(wanted, 'value')}",
        "maxItems": lambda: f"at most {_counted(wanted, 'value')}",
        "uniqueItems": lambda: "every value once",
        "minLength": lambda: f"text of at least {_counted(wanted, 'character')}",
        "maxLength": lambda: f"text of at most {_counted(wanted, 'character')}",
        "minProperties": lambda: f"at least {_counted(wanted, 'key')}",
        "pattern": lambda: str(error.schema.get("title", f"text like {wanted}")),
        "not": lambda: "an odd number" if wanted == {"multipleOf": 2} else f"nothing like {wanted}",
        "anyOf": lambda: "one of the forms that its description names",
    }
    return words.get(error.validator, lambda: str(error.message))()


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _choices(found: object, choices: list[Any]) -> str:
    """The values that a key can have; where they are many, those that are spelled like the one found."""
    names = [str(choice) for choice in choices]
    near = get_close_matches(str(found), names, n=5, cutoff=0.5) if len(names) > 20 else []
    return f"one of {len(names)} names, such as {', '.join(near)}" if near else f"one of {', '.join(names)}"


def check_references(config: Config, own: Config | None = None) -> None:
    """Check what a JSON schema cannot: that every name stands for an entry, and that sizes fit together.

    An entry that no run refers to must be right in itself; what it does not fit together with counts for nothing, for
    it may be the default study's, which all others have.

    Args:
        config: of the study.
        own: what of it its own files say, for the sample sizes of the measurement that others have from the default;
            None for all.

    Raises:
        UserError: naming the key, what was found and what was expected.
    """
    _check_experiments(config)
    require_entries("figures.reference_optimizer", [config["figures"]["reference_optimizer"]], "optimizers", config)
    _check_overrides(config)
    for name in config["experiments"]:
        EXPERIMENTS[name].check(config)
    _check_starts(config)
    for name, dataset in config["datasets"].items():
        _check_dataset(f"datasets.{name}", dataset)
    for name, labels in config["labels"].items():
        if "transition" in labels:
            _check_transition(f"labels.{name}", labels)
    for name, optimizer in config["optimizers"].items():
        _check_momentum(f"optimizers.{name}", optimizer)
        for model in optimizer.get("for_models", {}):
            _check_momentum(f"optimizers.{name}.for_models.{model}", optimizer_settings(config, name, model))
    runs = all_runs(config)
    check_models(config, dict.fromkeys(run.model for run in runs))
    _check_groups(config, runs)
    _check_lengths(config, runs)
    _check_sizes(config, config if own is None else own, runs)
    _check_ranks(config)
    _check_training_resources(config.get("operational", {}))


def _check_training_resources(operational: Config) -> None:
    """Check that resources of training are none that have keys of their own, and that nothing in them is a command.

    Snakemake's executors put resources such as slurm_extra into a command line as they are.
    """
    for name, value in operational.get("training_resources", {}).items():
        key = f"operational.training_resources.{name}"
        if name in OWN_KEYS:
            there = "the config" if name == "device" else "operational"
            raise UserError(f"{key}: found {value!r}, expected no such resource; set {there}'s own key {name}")
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise UserError(f"operational.training_resources: found the name {name!r}, expected letters, digits and _")
        if not re.fullmatch(PLAIN_WORDS, str(value), re.ASCII):
            raise UserError(
                f"{key}: found {value!r}, expected a number or plain words (letters, digits, blanks and any of "
                "_ . : , = @ / + % -), since it becomes part of a command; write it without other characters"
            )


def _check_experiments(config: Config) -> None:
    """Check that the experiments have their sections and each other, and that their sections name entries."""
    for name in config["experiments"]:
        experiment = EXPERIMENTS[name]
        missing = [other for other in experiment.needs if other not in config["experiments"]]
        if missing:
            raise UserError(
                f"experiments: found {name} without {missing[0]}, expected both, as it takes its runs from there; add "
                f"{missing[0]}"
            )
        for section in experiment.sections:
            _check_section(name, section, config)


def _check_section(experiment: str, section: str, config: Config) -> None:
    """Check that the section of an experiment is there, and that the names in it are those of entries."""
    of_section = EXPERIMENTS[section]
    if section not in config and "required" in (of_section.schema or {}):
        raise UserError(f"experiments: found {experiment}, expected a section {section} too; write one")
    for key, entries in of_section.entries.items():
        found = config[section][key]
        require_entries(f"{section}.{key}", [found] if isinstance(found, str) else found, entries, config)


def _check_groups(config: Config, runs: Sequence[Run]) -> None:
    """Check that mini-batches have an example for each group that they are split into."""
    for name, model, dataset in _ways(runs):
        optimizer = config["optimizers"][name]
        groups = METHODS[optimizer["method"]].groups(optimizer)
        batch_size = training_of(config, dataset, model, name)["batch_size"]
        if batch_size < groups:
            raise UserError(
                f"training.batch_size: found {batch_size}, expected at least the {groups} groups of "
                f"optimizers.{name}; raise it"
            )


def _ways(runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    """The (optimiser, model, data set)s that are trained."""
    return list(dict.fromkeys((run.optimizer, run.model, run.dataset) for run in runs))


def _training_key(config: Config, dataset: str, model: str, optimizer: str, key: str) -> str:
    """Where the config says a key of `training` that holds for runs of these entries."""
    for section, name in (("optimizers", optimizer), ("models", model), ("datasets", dataset)):
        if key in config["training"].get(f"for_{section}", {}).get(name, {}):
            return f"training.for_{section}.{name}.{key}"
    return f"training.{key}"


MOST_SEGMENTS, MOST_CHECKPOINTS = 1_000, 10_000  # of a run; each is a rule or a file


def _check_lengths(config: Config, runs: Sequence[Run]) -> None:
    """Check that a run is trained in a number of jobs, and saved a number of times, that can be planned."""
    for optimizer, model, dataset in _ways(runs):
        training = training_of(config, dataset, model, optimizer)
        updates, saved = training["updates"], training["checkpoints"]
        count = ceil(updates / training.get("segment_updates", updates))
        if count > MOST_SEGMENTS:
            key = _training_key(config, dataset, model, optimizer, "segment_updates")
            raise UserError(
                f"{key}: found {training['segment_updates']} of {updates} updates, which makes {count} jobs of a run, "
                f"expected at most {MOST_SEGMENTS}; raise it"
            )
        most = min(updates, saved.get("every_step_until", 8)) + saved.get("per_doubling", 2) * log2(updates + 1)
        most = min(updates, most + updates / saved.get("every", inf)) + count + 1
        if most > MOST_CHECKPOINTS:
            key = _training_key(config, dataset, model, optimizer, "checkpoints")
            raise UserError(
                f"{key}: found {dict(saved)} with {updates} updates, which makes up to {round(most)} checkpoints of a "
                f"run, expected at most {MOST_CHECKPOINTS}; save fewer"
            )


def _check_sizes(config: Config, own: Config, runs: Sequence[Run]) -> None:
    """Check that what is drawn from a data set is there, where the config tells how large the set is."""
    for run in runs:
        there = trained_examples(config, run)
        batch_size = training_of(config, run.dataset, run.model, run.optimizer)["batch_size"]
        if there is not None and 0 < there < batch_size:
            key = _training_key(config, run.dataset, run.model, run.optimizer, "batch_size")
            of_subset = "" if run.subset == FULL else f" in the part {run.subset}"
            raise UserError(
                f"{key}: found {batch_size}, expected at most the {there} examples of datasets.{run.dataset}"
                f"{of_subset} that runs train on; lower it"
            )
    for labels, dataset in dict.fromkeys((run.labels, run.dataset) for run in runs):
        _check_classes(config, labels, dataset)
    for dataset in dict.fromkeys(dataset for dataset, _ in scored_networks(config)):
        _check_split(config, dataset)
    for name, measured in results_of(config).items():
        for dataset in dict.fromkeys(run.dataset for run in measured if run.subset == FULL):
            _check_sample(config, own, name, dataset)


def _check_classes(config: Config, labels: str, dataset: str) -> None:
    """Check that a transition matrix has a row for each class of a data set."""
    matrix, classes = config["labels"][labels].get("transition"), known_classes(config, dataset)
    if isinstance(matrix, list) and classes is not None and len(matrix) != classes:
        raise UserError(
            f"labels.{labels}.transition: found {len(matrix)} rows, expected {classes}, one for each class of "
            f"datasets.{dataset}; correct it"
        )


def _check_split(config: Config, dataset: str) -> None:
    """Check that the easy and the hard part of a data set have examples to train on and some for testing."""
    there = known_size(config, dataset, "train")
    if there is None:
        return
    train, test = split_counts(there, *split_shares(config))
    if not (train and test):
        key = "test_fraction" if train + test > 1 else "fraction"
        raise UserError(
            f"easy_hard.{key}: found {config['easy_hard'].get(key)}, which makes parts of {train} examples to train on "
            f"and {test} for testing out of the {there} of datasets.{dataset}, expected one of each; "
            "choose another"
        )


def _check_sample(config: Config, own: Config, result_name: str, dataset: str) -> None:
    """Check that a data set has as many examples as a result of this name measures."""
    measurement, asked = own.get("measurement", {}), {}
    if result_name.startswith(OTHER_SAMPLE):
        asked["sample_size.sizes"] = (int(result_name.removeprefix(OTHER_SAMPLE)), "train")
    elif result_name in ("coherence", "contributions"):
        asked["measurement.sample_size"] = (measurement.get("sample_size", 0), "train")
        if result_name == "coherence":
            asked["measurement.heldout_size"] = (measurement.get("heldout_size", 0), "test")
    for key, (found, part) in asked.items():
        there = known_size(config, dataset, part)
        if there is not None and found > there:
            kind = "training" if part == "train" else "test"
            raise UserError(
                f"{key}: found {found}, expected at most the {there} {kind} examples of datasets.{dataset}; lower it"
            )


def _check_ranks(config: Config) -> None:
    """Check that no run is to be shared out by several processes whose optimiser needs all examples in one."""
    ranks = config.get("operational", {}).get("ranks", 1)
    for name in dict.fromkeys(run.optimizer for run in all_runs(config)) if ranks > 1 else ():
        if METHODS[config["optimizers"][name]["method"]].one_rank:
            refuse_ranks(ranks, f"optimizers.{name}")


def _check_overrides(config: Config) -> None:
    """Check that what is said of single entries, and of further combinations, names entries."""
    for section in ("datasets", "models", "optimizers"):
        key = f"training.for_{section}"
        require_entries(key, config["training"].get(f"for_{section}", {}), section, config)
    for name, optimizer in config["optimizers"].items():
        require_entries(f"optimizers.{name}.for_models", optimizer.get("for_models", {}), "models", config)


def _check_starts(config: Config) -> None:
    """Check that every `start` of an optimiser names entries, and leads to a run from fresh weights in the end."""
    optimizers = config["optimizers"]
    starts = {name: entry["start"] for name, entry in optimizers.items() if "start" in entry}
    for name, start in starts.items():
        require_entries(f"optimizers.{name}.start.labels", [start["labels"]], "labels", config)
        require_entries(f"optimizers.{name}.start.optimizer", [start["optimizer"]], "optimizers", config)
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
    if dataset["source"] in KNOWN and dataset["source"] != "digits":
        most, rest, classes = KNOWN[dataset["source"]]
        for part, there in (("train_size", most), ("test_size", rest)):
            found = dataset.get(part)
            if found is not None and not classes <= found <= there:
                raise UserError(
                    f"{key}.{part}: found {found}, expected {classes} (one of each class) to {there} (all there are)"
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


def check_models(config: Config, names: Iterable[str] | None = None) -> None:
    """Check that the code of networks of the user's own is there; UserError naming the key where it is not.

    Args:
        config: of the study.
        names: of entries of `models`; None for all.
    """
    for name in config["models"] if names is None else names:
        try:
            model_settings(config, name)
        except UserError as error:
            raise UserError(f"models.{name}.architecture: {error}") from error


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
