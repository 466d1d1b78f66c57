"""Names that the tidy tables share with what reads them: the columns that name a run, the whole network, the sample.

What the columns mean is in `mcoherence.tables.dictionary`, and of those that one table alone has in its module.
"""

from dataclasses import dataclass

RUN_COLUMNS = ("dataset", "model", "labels", "noise", "optimizer", "subset", "seed")
WHOLE_NETWORK = "model"  # as a layer: all of them together
TRAIN_GROUP = "train"  # as a group: pristine and corrupt examples together


@dataclass(frozen=True)
class Column:
    """The unit of a column's values, "" for names and flags, and what they mean."""

    unit: str
    meaning: str
