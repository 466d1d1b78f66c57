"""The results of a run, by name: what each depends on, how many examples it takes, how it is cut into jobs.

`coherence_mM` is the result coherence on a training sample of M examples, none of them in the study's own sample.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcoherence.study.data_sizes import Size
from mcoherence.study.result_names import DIFFICULTY_GROUPS, GROUPS, OTHER_SAMPLE, OWN_NETWORK
from mcoherence.study.runs import Config, Run


@dataclass(frozen=True)
class Result:
    """One kind of result.

    command: of workflow_scripts that makes it.
    stage: name of the rule that makes it, and of its stage in the plan.
    settings: (config, run) -> what it depends on besides its files.
    examples: (measurement, size of the data set) -> how many examples it takes at each checkpoint.
    groups: config -> number of groups of examples whose gradient sums it keeps; 0 where it measures no gradients.
    verb: what its jobs do to a network, for messages.
    split: whether it always reads the split into easy and hard examples; else only that of the run's own subset.
    subset: whether it reads the subset that the run trains on.
    """

    command: str
    stage: str
    settings: Callable[[Config, Run], Mapping[str, Any]]
    examples: Callable[[Mapping[str, int], Size], int]
    groups: Callable[[Config], int]
    verb: str
    split: bool = False
    subset: bool = False


def _sample(measurement: Mapping[str, int], size: Size) -> int:
    return min(measurement["sample_size"], size.train)


def _heldout(measurement: Mapping[str, int], size: Size) -> int:
    return min(measurement["heldout_size"], size.test)


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


RESULTS = {
    "evaluation": Result(
        command="evaluate",
        stage="evaluate",
        settings=_evaluation_settings,
        examples=lambda measurement, size: size.train + size.test,
        groups=lambda config: 0,
        verb="Evaluate",
    ),
    "coherence": Result(
        command="measure_coherence",
        stage="measure_coherence",
        settings=_coherence_settings,
        examples=lambda measurement, size: _sample(measurement, size) + _heldout(measurement, size),
        groups=lambda config: len(GROUPS),
        verb="Measure",
        subset=True,
    ),
    "contributions": Result(
        command="measure_contributions",
        stage="measure_contributions",
        settings=_contribution_settings,
        examples=_sample,
        groups=lambda config: int(2 ** (config["contributions"]["null_worlds"] + 1)),
        verb="Measure contributions in",
    ),
    "difficulty_coherence": Result(
        command="measure_difficulty_coherence",
        stage="measure_difficulty_coherence",
        settings=_measurement_settings,
        # of easy, hard and random examples, all of them training examples
        examples=lambda measurement, size: min(
            3 * (_sample(measurement, size) + _heldout(measurement, size)), size.train
        ),
        groups=lambda config: len(DIFFICULTY_GROUPS),
        verb="Measure easy and hard examples in",
        split=True,
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
        return {**own, "sample_size": sample_size, "apart_from": own["sample_size"]}

    def examples(measurement: Mapping[str, int], size: Size) -> int:
        return kind.examples({**measurement, "sample_size": sample_size}, size)

    return Result(kind.command, ON_OTHER_SAMPLE, settings, examples, kind.groups, kind.verb, subset=True)
