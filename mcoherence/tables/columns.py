"""Names that the tidy tables share with what reads them: the columns that name a run, the whole network, the sample.

What the columns mean is in `mcoherence.tables.dictionary`, and of those that one table alone has in its module.
"""

from dataclasses import dataclass

RUN_COLUMNS = ("dataset", "model", "labels", "noise", "optimizer", "subset", "seed")
WHOLE_NETWORK = "model"  # as a layer: all of them together
TRAIN_GROUP = "train"  # as a group: pristine and corrupt examples together

MEASURED_WORLD = "measured"  # as a world: the tags pristine and corrupt as they are; null worlds have them shuffled
# What a reference run is compared with in difficulty_agreement, beside the seed of another.
ALL_SEEDS, OTHER_SEEDS, ONE_CHECKPOINT = "all seeds", "other seeds", "one checkpoint"
TOY_TRAINING_EXAMPLES = 4  # of the five of a regression in six dimensions; the fifth is the test


@dataclass(frozen=True)
class Column:
    """The unit of a column's values, "" for names and flags, and what they mean."""

    unit: str
    meaning: str
