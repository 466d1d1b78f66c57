"""Whether a data set of a user's own has what a study asks of it, asked before anything is trained.

Of other sources the config tells how many examples and classes there are; Snakemake's start refuses what does not fit.
What a user's function returns is known once it was called, which preparing its images does.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcoherence.data.store import read_class_names, read_targets
from mcoherence.errors import UserError
from mcoherence.study.catalogue import all_runs
from mcoherence.study.runs import Config
from mcoherence.study.size_checks import check_amounts, check_transition


def check_data(config: Config, own: Config, dataset: str, images: Path) -> dict[str, Any]:
    """Check the prepared images of a data set against what a study does with them.

    Args:
        config: of the study.
        own: what of it its own files say.
        dataset: name of the entry.
        images: its images.h5.

    Returns:
        What was found: examples of both parts, and the names of the classes.

    Raises:
        UserError: it has too few examples for what is trained, split or measured, or other classes than labels name.
    """
    sizes = {f"{part}_size": len(read_targets(images, part)) for part in ("train", "test")}
    names = tuple(read_class_names(images))
    counted = {**config, "datasets": {**config["datasets"], dataset: {**config["datasets"][dataset], **sizes}}}
    runs = [run for run in all_runs(config) if run.dataset == dataset]
    check_classes(dataset, names, {name: config["labels"][name] for name in dict.fromkeys(run.labels for run in runs)})
    check_amounts(counted, own, runs)
    return {"dataset": dataset, **sizes, "class_names": list(names)}


def check_classes(dataset: str, names: tuple[str, ...], label_sets: Mapping[str, Mapping[str, Any]]) -> None:
    """Check the names of a data set's classes, in the order of the targets, against the label sets made of them.

    Raises:
        UserError: there is one class, or a transition is of other classes.
    """
    if len(names) < 2:
        raise UserError(
            f"datasets.{dataset}: found one class, expected two at least, since a network learns to tell them apart; "
            "let the function return targets of 0 and 1"
        )
    for name, labels in label_sets.items():
        check_transition(name, labels.get("transition"), dataset, names, len(names))
