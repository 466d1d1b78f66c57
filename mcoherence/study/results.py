"""The results of a run, by name: what each depends on, how many examples it takes, how it is cut into jobs.

`coherence_mM` is the result coherence on a training sample of M examples, none of them in the study's own sample.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcoherence.models.architectures import may_have_batch_norm
from mcoherence.optim.methods import METHODS
from mcoherence.study.data_sizes import Size
from mcoherence.study.result_names import DIFFICULTY_GROUPS, GROUPS, NO_BATCH_NORM, OTHER_SAMPLE, OWN_NETWORK
from mcoherence.study.runs import Config, Run
from mcoherence.study.segments import checkpoint_steps, every_nth
from mcoherence.study.settings import training_of_run


@dataclass(frozen=True)
class Result:
    """One kind of result.

    command: of workflow_scripts that makes it.
    stage: name of the rule that makes it, and of its stage in the plan.
    settings: (config, run) -> what it depends on besides its files.
    examples: (config, run, size of the data set) -> how many examples it takes at each checkpoint.
    groups: config -> number of groups of examples whose gradient sums it keeps; 0 where it measures no gradients.
    verb: what its jobs do to a network, for messages.
    split: whether it always reads the split into easy and hard examples; else only that of the run's own subset.
    subset: whether it reads the subset that the run trains on.
    shards: whether its examples can be taken in shards, by jobs of their own.
    copies: how often what a pass keeps of an example is held at once; twice by products with directions.
    """

    command: str
    stage: str
    settings: Callable[[Config, Run], Mapping[str, Any]]
    examples: Callable[[Config, Run, Size], int]
    groups: Callable[[Config], int]
    verb: str
    split: bool = False
    subset: bool = False
    shards: bool = True
    copies: int = 1


def _sample(config: Config, size: Size) -> int:
    return int(min(config["measurement"]["sample_size"], size.train))


def _heldout(config: Config, size: Size) -> int:
    return int(min(config["measurement"]["heldout_size"], size.test))


def _with_redrawn(config: Config, run: Run, size: Size) -> int:
    """Training examples, with redrawn labels once more, and held-out ones."""
    return (2 if redrawn_labels(config, run) else 1) * _sample(config, size) + _heldout(config, size)


def _own_network(config: Config, run: Run) -> dict[str, Any]:
    """Of a user's own network its name: checkpoints name one too, but which code is run is for the config to say."""
    architecture = config["models"][run.model]["architecture"]
    return {OWN_NETWORK: architecture} if ":" in architecture else {}


def steps_of_result(config: Config, run: Run, name: str) -> list[int]:
    """Numbers of updates of the checkpoints that a result of a run is made from: all, or those that are evaluated."""
    steps = checkpoint_steps(training_of_run(config, run))
    return every_nth(steps, config.get("evaluation", {}).get("every", 1)) if name == "evaluation" else steps


def _evaluation_settings(config: Config, run: Run) -> dict[str, Any]:
    thinned = {key: value for key, value in config.get("evaluation", {}).items() if (key, value) != ("every", 1)}
    if "train_examples" in thinned:
        thinned["seed"] = config["measurement"].get("seed", 0)
    return {"tf32": config["measurement"].get("tf32", False), **_own_network(config, run), **thinned}


def _evaluated(config: Config, run: Run, size: Size) -> int:
    return int(min(config.get("evaluation", {}).get("train_examples", size.train), size.train)) + size.test


def batch_norm_of(config: Config, run: Run) -> str:
    """The setting batch_norm of the measurement; "none" for a network that is known to have none, which it is for."""
    asked: str = config["measurement"].get("batch_norm", "running")
    return asked if may_have_batch_norm(config["models"][run.model]) else NO_BATCH_NORM


def redrawn_labels(config: Config, run: Run) -> bool:
    """Whether a run is measured with redrawn labels too: by measurement.redrawn_labels all are, plain SGD's or none."""
    asked = config["measurement"].get("redrawn_labels", "sgd")
    plain = METHODS[config["optimizers"][run.optimizer]["method"]].plain
    return bool(asked == "all" or (asked == "sgd" and plain))


def _measurement_settings(config: Config, run: Run) -> dict[str, Any]:
    asked = dict(config["measurement"])
    minibatch_size, sample = asked.pop("minibatch_size", None), asked.pop("sample", "fixed")
    asked.pop("redrawn_labels", None)
    asked |= {"batch_norm": batch_norm_of(config, run), "sample": sample}
    if asked["batch_norm"] == "minibatch":
        asked["minibatch_size"] = minibatch_size
    if sample == "by_seed":
        asked["run_seed"] = run.seed
    return {**asked, **_own_network(config, run)}


def _coherence_settings(config: Config, run: Run) -> dict[str, Any]:
    redrawn = (
        {"redrawn_labels": True, "run_seed": run.seed} if redrawn_labels(config, run) else {"redrawn_labels": False}
    )
    return {**_measurement_settings(config, run), **redrawn, "subset": run.subset}


def _contribution_settings(config: Config, run: Run) -> dict[str, Any]:
    measurement = {key: value for key, value in _measurement_settings(config, run).items() if key != "heldout_size"}
    return {**measurement, "null_worlds": config["contributions"]["null_worlds"]}


def _batch_size(config: Config, run: Run) -> int:
    return int(training_of_run(config, run)["batch_size"])


def _confusion_settings(config: Config, run: Run) -> dict[str, Any]:
    chosen = {key: value for key, value in config["measurement"].items() if key in ("seed", "precision", "tf32")}
    own = {**chosen, **_own_network(config, run)}
    return {**own, "mini_batches": config["confusion"]["mini_batches"], "batch_size": _batch_size(config, run)}


def _example_settings(config: Config, run: Run) -> dict[str, Any]:
    chosen = {key: value for key, value in config["measurement"].items() if key in ("precision", "tf32")}
    return {**chosen, "batch_norm": batch_norm_of(config, run), **_own_network(config, run)}


def _groups_of_coherence(config: Config) -> int:
    asked: str = config["measurement"].get("redrawn_labels", "sgd")
    return len(GROUPS) + (asked != "none")


RESULTS = {
    "evaluation": Result(
        command="evaluate",
        stage="evaluate",
        settings=_evaluation_settings,
        examples=_evaluated,
        groups=lambda config: 0,
        verb="Evaluate",
    ),
    "coherence": Result(
        command="measure_coherence",
        stage="measure_coherence",
        settings=_coherence_settings,
        examples=_with_redrawn,
        groups=_groups_of_coherence,
        verb="Measure",
        subset=True,
    ),
    "contributions": Result(
        command="measure_contributions",
        stage="measure_contributions",
        settings=_contribution_settings,
        examples=lambda config, run, size: _sample(config, size),
        groups=lambda config: int(2 ** (config["contributions"]["null_worlds"] + 1)),
        verb="Measure contributions in",
    ),
    "difficulty_coherence": Result(
        command="measure_difficulty_coherence",
        stage="measure_difficulty_coherence",
        settings=_measurement_settings,
        # of easy, hard and random examples, all of them training examples
        examples=lambda config, run, size: min(3 * (_sample(config, size) + _heldout(config, size)), size.train),
        groups=lambda config: len(DIFFICULTY_GROUPS),
        verb="Measure easy and hard examples in",
        split=True,
    ),
    "confusion": Result(
        command="measure_confusion",
        stage="measure_confusion",
        settings=_confusion_settings,
        examples=lambda config, run, size: config["confusion"]["mini_batches"] * _batch_size(config, run),
        groups=lambda config: int(config.get("confusion", {}).get("mini_batches", 0)),  # a section without a default
        verb="Measure gradient confusion of",
        shards=False,
    ),
    "example_scores": Result(
        command="measure_example_scores",
        stage="measure_example_scores",
        settings=_example_settings,
        # every training example: in the sum of all, in that of its class, its norm, and its products with both
        examples=lambda config, run, size: 4 * size.train,
        groups=lambda config: 2,  # the sums that an example is compared with
        verb="Score single examples of",
        shards=False,  # each would take the sums over all examples again; blocks of checkpoints are jobs of their own
        copies=2,
    ),
}
ON_OTHER_SAMPLE = "measure_sample_size"  # the stage of coherence on other samples
# Stages of the plan: training, and the rules that make results.
STAGES = ("train", *(kind.stage for kind in RESULTS.values()), ON_OTHER_SAMPLE)


def names_of(kind: str) -> str:
    """A regular expression for the names that results of a kind have; coherence has one for every sample."""
    return rf"coherence|{OTHER_SAMPLE}\d+" if kind == "coherence" else kind


def result(name: str) -> Result:
    """The kind of a result by its name; that of coherence_mM measures a training sample of M examples."""
    other = re.fullmatch(rf"{OTHER_SAMPLE}(\d+)", name)
    if other is None:
        return RESULTS[name]
    kind, sample_size = RESULTS["coherence"], int(other[1])

    def settings(config: Config, run: Run) -> dict[str, Any]:
        own = kind.settings(config, run)
        of_sample = {**own, "sample_size": sample_size, "apart_from": own["sample_size"], "redrawn_labels": False}
        if of_sample["sample"] == "fixed":
            of_sample.pop("run_seed", None)
        return of_sample

    def examples(config: Config, run: Run, size: Size) -> int:
        measurement = {**config["measurement"], "sample_size": sample_size, "redrawn_labels": "none"}
        return kind.examples({**config, "measurement": measurement}, run, size)

    return Result(kind.command, ON_OTHER_SAMPLE, settings, examples, kind.groups, kind.verb, subset=True)
