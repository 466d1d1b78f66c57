"""The results of a run, by name: what each depends on, how many examples it takes, how it is cut into jobs.

`coherence_mM` is the result coherence on a training sample of M examples.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcoherence.study.data_sizes import Size
from mcoherence.study.result_names import DIFFICULTY_GROUPS, GROUPS, OTHER_SAMPLE, OWN_NETWORK
from mcoherence.study.runs import Config, Run
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


def _sample(config: Config, size: Size) -> int:
    return int(min(config["measurement"]["sample_size"], size.train))


def _heldout(config: Config, size: Size) -> int:
    return int(min(config["measurement"]["heldout_size"], size.test))


def _own_network(config: Config, run: Run) -> dict[str, Any]:
    """Of a user's own network its name: checkpoints name one too, but which code is run is for the config to say."""
    architecture = config["models"][run.model]["architecture"]
    return {OWN_NETWORK: architecture} if ":" in architecture else {}


def _evaluation_settings(config: Config, run: Run) -> dict[str, Any]:
    return {"tf32": config["measurement"].get("tf32", False), **_own_network(config, run)}


def _measurement_settings(config: Config, run: Run) -> dict[str, Any]:
    return {**config["measurement"], **_own_network(config, run)}


def _coherence_settings(config: Config, run: Run) -> dict[str, Any]:
    return {**_measurement_settings(config, run), "subset": run.subset}


def _contribution_settings(config: Config, run: Run) -> dict[str, Any]:
    measurement = {key: value for key, value in _measurement_settings(config, run).items() if key != "heldout_size"}
    return {**measurement, **config["contributions"]}


def _batch_size(config: Config, run: Run) -> int:
    return int(training_of_run(config, run)["batch_size"])


def _confusion_settings(config: Config, run: Run) -> dict[str, Any]:
    arithmetic = {key: value for key, value in _measurement_settings(config, run).items() if not key.endswith("_size")}
    return {**arithmetic, "mini_batches": config["confusion"]["mini_batches"], "batch_size": _batch_size(config, run)}


RESULTS = {
    "evaluation": Result(
        command="evaluate",
        stage="evaluate",
        settings=_evaluation_settings,
        examples=lambda config, run, size: size.train + size.test,
        groups=lambda config: 0,
        verb="Evaluate",
    ),
    "coherence": Result(
        command="measure_coherence",
        stage="measure_coherence",
        settings=_coherence_settings,
        examples=lambda config, run, size: _sample(config, size) + _heldout(config, size),
        groups=lambda config: len(GROUPS),
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
        groups=lambda config: int(
            config.get("confusion", {}).get("mini_batches", 1)
        ),  # a study may not have the section
        verb="Measure gradient confusion of",
        shards=False,
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
        return {**kind.settings(config, run), "sample_size": sample_size}

    def examples(config: Config, run: Run, size: Size) -> int:
        measurement = {**config["measurement"], "sample_size": sample_size}
        return kind.examples({**config, "measurement": measurement}, run, size)

    return Result(kind.command, ON_OTHER_SAMPLE, settings, examples, kind.groups, kind.verb, subset=True)
