"""How the gradients of easy, hard and random examples agree, along the reference runs and the runs on each part."""

from mcoherence.study.experiment import DIFFICULTY, Experiment, Figure, Table
from mcoherence.study.experiments import easy_hard
from mcoherence.study.runs import Config, Grid


def grids(config: Config) -> list[Grid]:
    """The runs on everything, then those on each part."""
    return [*easy_hard.reference_grids(config), *easy_hard.grids(config)]


EXPERIMENT = Experiment(
    sections=("easy_hard",),
    needs=("easy_hard",),
    tables={"difficulty_coherence": Table(grids, ("difficulty_coherence",))},
    figures={
        "difficulty_coherence": Figure(("difficulty_coherence",), DIFFICULTY, "5.4 which examples help which"),
    },
)
