"""Second-split forgetting (Maini et al., arXiv 2210.15031) of one half while training goes on with the other.

Its times are columns of the table difficulty.
"""

from mcoherence.data.subsets import TRAINED_HALF
from mcoherence.study.experiment import DIFFICULTY, Experiment, Figure
from mcoherence.study.runs import Config, Grid, grid


def grids(config: Config) -> list[Grid]:
    """For every reference run, the runs on either half of its training part and those that go on with the other half.

    They share the reference run's seed, and so its labels and first weights.
    """
    section = config["easy_hard"]
    return [grid(section, seeds=section["reference_seeds"], subsets=list(TRAINED_HALF))]


EXPERIMENT = Experiment(
    sections=("easy_hard",),
    needs=("easy_hard",),
    tables={},
    figures={"second_split": Figure(("difficulty",), DIFFICULTY, "5.5 learned on one half, forgotten on the other")},
    every_checkpoint="when an example is forgotten is read from checkpoint to checkpoint",
    every_example="every example has a forgetting time",
)
