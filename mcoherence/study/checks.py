"""Checks of a config that no JSON schema can say: that every name stands for an entry, and that settings agree."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mcoherence.errors import UserError
from mcoherence.optim.methods import METHODS
from mcoherence.optim.one_rank import refuse_ranks
from mcoherence.study.catalogue import EXPERIMENTS, all_runs
from mcoherence.study.data_sizes import KNOWN
from mcoherence.study.experiment import require_entries
from mcoherence.study.growing import GROWING, OTHER_SPELLINGS, amount
from mcoherence.study.runs import Config
from mcoherence.study.settings import model_settings, optimizer_settings, preparation_settings
from mcoherence.study.size_checks import check_amounts

# Keys of the config that are resources of training under the same name.
OWN_KEYS = (
    "device", "ranks", "resume_interval", "workers", "images_memory_mb", "cpu_batch_mb", "gpu_batch_mb",
    "channels_last", "compile", "deterministic", "jobs_per_gpu", "fork_jobs", "checkpoints_per_job",
    "examples_per_shard",
)  # fmt: skip
SNAKEMAKES_OWN = ("cores", "_cores", "_nodes", "threads")  # which it knows by its own options
PLAIN_WORDS = r"[\w.:,=@/+%-]+( [\w.:,=@/+%-]+)*"


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
    require_entries("figures.optimizer_colors", config["figures"].get("optimizer_colors", {}), "optimizers", config)
    _check_overrides(config)
    for name in config["experiments"]:
        EXPERIMENTS[name].check(config)
    _check_thinning(config)
    _check_starts(config)
    for name, dataset in config["datasets"].items():
        _check_dataset(f"datasets.{name}", dataset)
    for name, labels in config["labels"].items():
        if "transition" in labels:
            _check_transition(f"labels.{name}", labels)
    for name, optimizer in config["optimizers"].items():
        _check_momentum(f"optimizers.{name}", optimizer)
        _check_milestones(f"optimizers.{name}", optimizer)
        for model in optimizer.get("for_models", {}):
            of_model = optimizer_settings(config, name, model)
            _check_momentum(f"optimizers.{name}.for_models.{model}", of_model)
            _check_milestones(f"optimizers.{name}.for_models.{model}", of_model)
    runs = all_runs(config)
    check_models(config, dict.fromkeys(run.model for run in runs))
    check_sources(config, dict.fromkeys(run.dataset for run in runs))
    check_amounts(config, config if own is None else own, runs)
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
        if name in SNAKEMAKES_OWN:
            raise UserError(
                f"{key}: found {value!r}, expected no such resource; give Snakemake --cores, or, for a cluster, set "
                "cpus_per_task"
            )
        if name in OTHER_SPELLINGS:
            other = OTHER_SPELLINGS[name]
            raise UserError(f"{key}: found {value!r}, expected no such resource; set {other}, in megabytes")
        if name in GROWING:
            amount(name, value)
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


def _check_thinning(config: Config) -> None:
    """Check that no experiment needs evaluations that are thinned out."""
    thinned = config.get("evaluation", {})
    found = {"every": thinned.get("every", 1) > 1, "train_examples": "train_examples" in thinned}
    for name in config["experiments"]:
        needs = {"every": EXPERIMENTS[name].every_checkpoint, "train_examples": EXPERIMENTS[name].every_example}
        for key, why in needs.items():
            if found[key] and why:
                expected = "1 or none" if key == "every" else "none, for all examples,"
                raise UserError(
                    f"evaluation.{key}: found {thinned[key]}, expected {expected} with the experiment {name}, since "
                    f"{why}; remove the key, or make {name} a study of its own"
                )


def _check_section(experiment: str, section: str, config: Config) -> None:
    """Check that the section of an experiment is there, and that the names in it are those of entries."""
    of_section = EXPERIMENTS[section]
    if section not in config and "required" in (of_section.schema or {}):
        raise UserError(f"experiments: found {experiment}, expected a section {section} too; write one")
    for key, entries in of_section.entries.items():
        found = config[section][key]
        require_entries(f"{section}.{key}", [found] if isinstance(found, str) else found, entries, config)


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


def check_sources(config: Config, names: Iterable[str]) -> None:
    """Check that the code of data sets of the user's own is there; UserError naming the key where it is not.

    Args:
        config: of the study.
        names: of entries of `datasets`.
    """
    for name in names:
        try:
            preparation_settings(config, name)
        except UserError as error:
            raise UserError(f"datasets.{name}.source: {error}") from error


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


def _check_milestones(key: str, optimizer: Mapping[str, Any]) -> None:
    milestones = optimizer.get("schedule", {}).get("milestones", [])
    if milestones != sorted(milestones):
        raise UserError(
            f"{key}.schedule.milestones: found {milestones}, expected the earlier one first; write {sorted(milestones)}"
        )
