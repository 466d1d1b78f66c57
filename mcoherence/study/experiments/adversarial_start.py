"""Adversarial initialisation: the same training from fresh weights and from weights that had fitted other labels."""

from mcoherence.errors import UserError
from mcoherence.study.experiment import DIFFICULTY, NAMES, SEEDS, Experiment, Figure, Table, name
from mcoherence.study.experiment import section as section_of
from mcoherence.study.experiments import easy_hard
from mcoherence.study.runs import Config, Grid, grid


def grids(config: Config) -> list[Grid]:
    """The runs from fresh weights, and those of the same seeds from weights that had fitted other labels."""
    section = config["adversarial_start"]
    return [grid(section, optimizers=[section["optimizer"], section["adversarial_optimizer"]])]


def check(config: Config) -> None:
    """Check that the adversarial optimiser starts from another run's weights."""
    entry = config["adversarial_start"]["adversarial_optimizer"]
    if "start" not in config["optimizers"][entry]:
        raise UserError(
            f"adversarial_start.adversarial_optimizer: found {entry!r}, which starts from fresh weights, expected "
            f"an optimiser with a start; set optimizers.{entry}.start"
        )


EXPERIMENT = Experiment(
    section="adversarial_start",
    schema=section_of(
        "The experiment on adversarial initialisation: the same training from fresh weights and from weights that had "
        "fitted random labels.",
        ["datasets", "models", "labels", "optimizer", "adversarial_optimizer", "seeds"],
        datasets=NAMES,
        models=NAMES,
        labels=name("Label set of both trainings."),
        optimizer=name("Optimiser of the training from fresh weights."),
        adversarial_optimizer=name("The same, with a `start` that names the random labels whose run is gone on from."),
        seeds=SEEDS,
    ),
    # The split into easy and hard examples is that of the section easy_hard.
    names=easy_hard.ENTRIES
    | {
        "adversarial_start.datasets": "datasets",
        "adversarial_start.models": "models",
        "adversarial_start.labels": "labels",
        "adversarial_start.optimizer": "optimizers",
        "adversarial_start.adversarial_optimizer": "optimizers",
    },
    check=check,
    tables={
        "adversarial_start": Table(
            grids,
            ("evaluation", "labels", "split", "images"),
            own=lambda config: {"optimizer": config["adversarial_start"]["optimizer"]},
        ),
    },
    figures={"adversarial_start": Figure(("adversarial_start",), DIFFICULTY, "5.6 adversarial initialisation")},
)
