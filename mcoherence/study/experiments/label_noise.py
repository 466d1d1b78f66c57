"""Coherence, learning and memorisation: every combination of data set, network, label set, optimiser and seed."""

from typing import Any

from mcoherence.optim.methods import METHODS
from mcoherence.study.experiment import (
    COHERENCE,
    NAMES,
    PRISTINE_AND_CORRUPT,
    SEEDS,
    SUMMARY,
    TRAINING,
    Experiment,
    Figure,
    Table,
    require_entries,
    section_schema,
)
from mcoherence.study.runs import Config, Grid, grid

ENTRIES = {f"label_noise.{key}": key for key in ("datasets", "models", "labels", "optimizers")}
AXES = {"datasets": NAMES, "models": NAMES, "labels": NAMES, "optimizers": NAMES, "seeds": SEEDS}


def grids(config: Config) -> list[Grid]:
    """The combinations of the section's entries, and for each of `further` those with other entries in their place."""
    return grids_of(config["label_noise"])


def grids_of(section: Config) -> list[Grid]:
    """The grids of a section like label_noise."""
    return [grid(section), *(grid({**section, **other}) for other in section.get("further", []))]


def names(config: Config, axis: str) -> list[Any]:
    """What the experiment's runs have along an axis, such as "optimizers": of all combinations, `further` ones too."""
    return list(dict.fromkeys(name for one in grids(config) for name in one[axis]))


def winsorization(config: Config) -> dict[str, dict[str, float]]:
    """Optimiser entry -> its c, and the number `alike` of the family of entries that differ in c alone.

    Of the entries that the experiment's runs have; empty without winsorised ones. An SGD entry that has all other
    settings of a family belongs to it, with c = 0.
    """
    entries = {name: config["optimizers"][name] for name in names(config, "optimizers")}
    methods = {name: METHODS[entry["method"]] for name, entry in entries.items()}
    rest = {
        name: {k: v for k, v in entry.items() if k not in ("method", methods[name].clips)}
        for name, entry in entries.items()
    }
    families: list[dict[str, Any]] = []
    for name, method in methods.items():
        if method.clips and rest[name] not in families:
            families.append(rest[name])
    return {
        name: {"c": entries[name].get(method.clips, 0), "alike": families.index(rest[name])}
        for name, method in methods.items()
        if (method.plain or method.clips) and rest[name] in families
    }


def levels_of_fit(config: Config) -> list[float]:
    """The accuracies on pristine examples at which runs are compared: a grid, and those that statement E12 is about."""
    every_second = [percent / 100 for percent in range(10, 101, 2)]
    claims = config["claims"]
    return sorted({*every_second, 0.95, 0.99, claims.get("equal_fit", 0.95), *claims.get("other_fits", [])})


def check(config: Config) -> None:
    """Check that the names of `further` are entries."""
    for number, other in enumerate(config["label_noise"].get("further", [])):
        for section in sorted(set(other) - {"seeds"}):
            require_entries(f"label_noise.further.{number}.{section}", other[section], section, config)


SCORED = ("evaluation", "labels")
EXPERIMENT = Experiment(
    sections=("label_noise",),
    schema=section_schema(
        "The experiment on coherence, learning and memorisation: every combination is a run.",
        **AXES,
        further={
            "type": "array",
            "default": [],
            "description": "More combinations: each is the ones above with these entries in place of some, as where a "
            "network needs images of another size.",
            "items": {"type": "object", "additionalProperties": False, "minProperties": 1, "properties": AXES},
        },
    ),
    check=check,
    tables={
        "accuracy": Table(grids, SCORED),
        "coherence": Table(grids, ("coherence",)),
        "learning_time": Table(grids, ("evaluation", "labels")),
        "group_alignment": Table(grids, ("coherence",)),
        "overfit": Table(grids, (*SCORED, "images"), own=lambda config: {"winsorization": winsorization(config)}),
        "early_stopping": Table(grids, (*SCORED, "coherence")),
        "equal_fit": Table(tables=("accuracy",), own=lambda config: {"levels": levels_of_fit(config)}),
    },
    figures={
        "summary": Figure(("coherence", "accuracy", "easy_hard"), SUMMARY, "the study at a glance"),
        "coherence_by_step": Figure(("coherence",), COHERENCE, "2.1 along training"),
        "coherence_by_loss": Figure(("coherence", "accuracy"), COHERENCE, "2.2 against training loss"),
        "layer_coherence": Figure(("coherence",), COHERENCE, "2.3 layer by layer"),
        "alignment_by_step": Figure(("coherence",), COHERENCE, "2.6 alpha and mean pairwise alignment"),
        "pristine_corrupt": Figure(
            ("coherence",), PRISTINE_AND_CORRUPT, "3.1 within pristine, corrupt and held-out examples"
        ),
        "group_alignment": Figure(("group_alignment",), PRISTINE_AND_CORRUPT, "3.2 between these groups"),
        "training_curves": Figure(("accuracy",), TRAINING, "4.1 accuracy and loss"),
        "optimizers": Figure(("accuracy",), TRAINING, "4.2 optimisers at equal updates and equal examples"),
        "generalization_gap": Figure(("accuracy",), TRAINING, "4.3 gap between training and test accuracy"),
        "winsorization": Figure(
            ("overfit",), TRAINING, "4.4 overfitting by winsorised SGD", made=lambda config: bool(winsorization(config))
        ),
        "early_stopping": Figure(("early_stopping",), TRAINING, "4.5 best against last checkpoint"),
        "equal_fit": Figure(("equal_fit",), TRAINING, "4.7 memorisation at equal fit"),
    },
)
