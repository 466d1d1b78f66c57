"""Checks that what a config asks of runs and data sets can be had: examples, jobs and checkpoints."""

from collections.abc import Mapping, Sequence
from math import ceil, inf, log2

from mcoherence.data.subsets import split_counts
from mcoherence.errors import UserError, meant
from mcoherence.optim.methods import METHODS
from mcoherence.study.catalogue import halved_datasets, results_of, scored_networks
from mcoherence.study.cutting import cut_of
from mcoherence.study.data_sizes import CLASS_NAMES
from mcoherence.study.experiments.confusion import MINI_BATCHES
from mcoherence.study.result_names import FULL, OTHER_SAMPLE
from mcoherence.study.results import batch_norm_of, result
from mcoherence.study.runs import Config, Run, split_varies
from mcoherence.study.settings import training_of
from mcoherence.study.subset_sizes import known_classes, known_size, split_shares, trained_examples

MOST_SEED, MOST_SEED_OF_SCIKIT_LEARN = 2**63 - 1, 2**32 - 1
MOST_SEGMENTS, MOST_CHECKPOINTS = 1_000, 10_000  # of a run; each is a rule or a file
MOST_PARTS = 10_000  # jobs that make one result of a run


def check_amounts(config: Config, own: Config, runs: Sequence[Run]) -> None:
    """Check that the runs of a study can be planned, and that their data sets have what is asked of them.

    Args:
        config: of the study.
        own: what of it its own files say.
        runs: all runs of the study.

    Raises:
        UserError: naming the key, what was found and what was expected.
    """
    _check_groups(config, runs)
    _check_lengths(config, runs)
    _check_sizes(config, own, runs)
    _check_splits(config, runs)
    _check_minibatches(config)
    _check_parts(config)


def _check_splits(config: Config, runs: Sequence[Run]) -> None:
    """Check that a split that varies with the seed can, and that nothing is asked of its examples over seeds."""
    over_seeds = {dataset for dataset, _ in scored_networks(config)} | set(halved_datasets(config))
    for dataset in dict.fromkeys(run.dataset for run in runs if split_varies(config, run.dataset)):
        key, entry = f"datasets.{dataset}.split", config["datasets"][dataset]
        if dataset in over_seeds:
            raise UserError(
                f"{key}: found by_seed, expected fixed for easy and hard examples and for halves: what is hard is said "
                "of one training part over several seeds; set fixed, or leave these experiments out"
            )
        drawn = entry["source"] in ("digits", "glyphs")
        if not drawn and entry.get("train_size") is None and entry.get("test_size") is None:
            raise UserError(
                f"{key}: found by_seed without train_size, expected fixed: all images are taken, so that there is no "
                f"choice to vary; set datasets.{dataset}.train_size"
            )
        largest = entry.get("seed", 0) + max(run.seed for run in runs if run.dataset == dataset)
        most = MOST_SEED_OF_SCIKIT_LEARN if entry["source"] == "digits" else MOST_SEED
        if largest > most:
            raise UserError(
                f"{key}: found by_seed with a sum of seeds of {largest}, expected at most {most}; lower the seeds"
            )


def _check_minibatches(config: Config) -> None:
    """Check that coherence of mini-batches is asked for only where it can be had."""
    size = config["measurement"].get("minibatch_size", 20)
    for name, measured in results_of(config).items():
        kind = result(name)
        if not kind.groups(config):
            continue
        for run in measured:
            if batch_norm_of(config, run) != "minibatch":
                continue
            settings = kind.settings(config, run)
            if "batch_norm" not in settings:  # gradient confusion, which is of mini-batches in any case
                continue
            if name in ("contributions", "difficulty_coherence", "example_scores"):
                experiment = {"example_scores": "label_errors"}.get(name, name)
                whose = "single examples" if name == "example_scores" else "groups of examples"
                raise UserError(
                    f"measurement.batch_norm: found minibatch with models.{run.model} in the experiment {experiment}, "
                    f"expected running or sample: {whose} that share mini-batches have no gradients of their own; "
                    f"choose one of these, or leave {experiment} out of experiments"
                )
            for key in ("sample_size", "heldout_size"):
                if settings[key] < 2 * size:
                    raise UserError(
                        f"measurement.minibatch_size: found {size}, expected at most half of the {settings[key]} "
                        f"examples of {key}, for two mini-batches or more; lower it"
                    )


def _check_parts(config: Config) -> None:
    """Check that no result of a run is cut into more jobs than can be planned."""
    sizes = config.get("operational", {})
    asked = [key for key in ("examples_per_shard", "checkpoints_per_job") if sizes.get(key)]
    for name, made in results_of(config).items() if asked else ():
        for run in made:
            jobs = cut_of(config, run, name).jobs
            if jobs > MOST_PARTS:
                key = asked[0]
                raise UserError(
                    f"operational.{key}: found {sizes[key]}, which makes {jobs} jobs of one result ({name}) of a run, "
                    f"expected at most {MOST_PARTS}; raise it"
                )


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
    asked = config.get("evaluation", {}).get("train_examples", 0)
    for dataset in dict.fromkeys(run.dataset for run in runs):
        there = known_size(config, dataset, "train")
        if there is not None and asked > there:
            raise UserError(
                f"evaluation.train_examples: found {asked}, expected at most the {there} training examples of "
                f"datasets.{dataset}; lower it, or remove it for all"
            )
    for dataset in dict.fromkeys(dataset for dataset, _ in scored_networks(config)):
        _check_split(config, dataset)
    for name, measured in results_of(config).items():
        for dataset in dict.fromkeys(run.dataset for run in measured if run.subset == FULL):
            _check_sample(config, own, name, dataset)
        for optimizer, model, dataset in _ways([run for run in measured if name == "confusion"]):
            _check_mini_batches(config, dataset, model, optimizer)


def _check_classes(config: Config, labels: str, dataset: str) -> None:
    """Check a label set's transition against the classes of a data set, as far as its settings tell them."""
    names = CLASS_NAMES.get(config["datasets"][dataset]["source"])
    check_transition(labels, config["labels"][labels].get("transition"), dataset, names, known_classes(config, dataset))


def check_transition(
    labels: str, transition: object, dataset: str, names: Sequence[str] | None, classes: int | None
) -> None:
    """Check that a transition names classes of a data set, or has a row for each of them.

    Args:
        labels: name of the label set.
        transition: the mapping or the matrix; None where the label set has none.
        dataset: name of the entry.
        names: of its classes; None where they are not known.
        classes: their number; None where it is not known.

    Raises:
        UserError: a class is none, or there are rows too many or too few.
    """
    if isinstance(transition, Mapping) and names is not None:
        unknown = [name for name in (*transition, *transition.values()) if name not in names]
        if unknown:
            raise UserError(
                f"labels.{labels}.transition: found class {unknown[0]!r}{meant(unknown[0], names)}, expected names of "
                f"the classes of datasets.{dataset} ({', '.join(names[:20])}); correct it"
            )
    if isinstance(transition, list) and classes is not None and len(transition) != classes:
        raise UserError(
            f"labels.{labels}.transition: found {len(transition)} rows, expected {classes}, one for each class of "
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
        _check_other_sample(config, int(result_name.removeprefix(OTHER_SAMPLE)), dataset)
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


def _check_other_sample(config: Config, size: int, dataset: str) -> None:
    """Check that a sample of another size can be drawn beside the study's own, with which it shares no example."""
    there, own = known_size(config, dataset, "train"), config["measurement"]["sample_size"]
    if there is not None and size + own > there:
        raise UserError(
            f"sample_size.sizes: found {size}, expected at most {max(there - own, 0)}, the {there} training examples "
            f"of datasets.{dataset} less the {own} of measurement.sample_size, which no other sample shares; lower one"
        )


def _check_mini_batches(config: Config, dataset: str, model: str, optimizer: str) -> None:
    """Check that a data set has the examples of all mini-batches whose gradients are compared."""
    size = training_of(config, dataset, model, optimizer)["batch_size"]
    count, there = config["confusion"].get("mini_batches", MINI_BATCHES), known_size(config, dataset, "train")
    if there is not None and count * size > there:
        raise UserError(
            f"confusion.mini_batches: found {count} of {size} examples each, expected no example twice and at most the "
            f"{there} training examples of datasets.{dataset}; lower it, or training.batch_size"
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
