"""Adversarial initialisation: the same training from fresh weights and from weights that had fitted other labels."""

from mcoherence.errors import UserError
from mcoherence.study.experiment import DIFFICULTY, NAMES, SEEDS, Experiment, Figure, Table, one_name, section_schema
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
    sections=("adversarial_start", "easy_hard"),  # which says what is easy
    schema=section_schema(
        "The experiment on adversarial initialisation: the same training from fresh weights and from weights that had "
        "fitted random labels.",
        datasets=NAMES,
        models=NAMES,
        labels=one_name("Label set of both trainings."),
        optimizer=one_name("Optimiser of the training from fresh weights."),
        adversarial_optimizer=one_name(
            "The same, with a `start` that names the random labels whose run is gone on from."
        ),
        seeds=SEEDS,
    ),
    check=check,
    tables={
        "adversarial_start": Table(
            grids,
            ("evaluation", "labels", "split"),
            own=lambda config: {"optimizer": config["adversarial_start"]["optimizer"]},
        ),
    },
    figures={"adversarial_start": Figure(("adversarial_start",), DIFFICULTY, "5.6 adversarial initialisation")},
    every_example="easy and hard examples are among those that are not evaluated",
)
