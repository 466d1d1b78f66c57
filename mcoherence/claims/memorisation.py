"""Memorisation at equal fit: a statement of this project's own, which gets a verdict that is no paper's.

The papers compare accuracies on corrupt labels at the end of training (P13). A method that is merely slower fits fewer
of them at any step and as many in the end. Whether it fits fewer where it has fitted the pristine examples as well is
what tells prevention from delay.
"""

from dataclasses import replace
from itertools import product

import numpy as np

from mcoherence.claims.measured import Measured, Parts, PerSeed, Tables, difference_of_accuracies
from mcoherence.claims.registry import claim
from mcoherence.claims.settings import ClaimSettings


@claim(
    "E12",
    "Where the accuracy on pristine examples first reaches the same level, a method that suppresses weak gradient "
    "directions has fitted fewer corrupt labels than SGD.",
    short="fewer corrupt labels at equal fit",
    source="this project; no paper is known to us that states it (arXiv 2003.07422 compares at the end of training)",
    statistic=(
        "accuracy on corrupt examples where that on pristine ones first reaches equal_fit, linear between checkpoints: "
        "SGD's minus the method's. Other levels (other_fits), and methods that are not meant to suppress, are reported "
        "and decide nothing"
    ),
    unit="points",
    figure="equal_fit",
    tables=("equal_fit",),
    needs="runs of SGD, and of another method, with labels that are random in part",
    level="own",
)
def fewer_corrupt_at_equal_fit(tables: Tables, settings: ClaimSettings) -> Parts:
    """How many fewer corrupt labels each method has fitted than SGD, where both have fitted the pristine ones as well.

    A run that never comes so far has no number, which leaves its part open. A method of which no run does is not
    compared, and the others decide; if there are none, the statement is open. Methods that are not meant to suppress
    (not in `settings.suppressing`) are controls, and reported.
    """
    found: dict[str, tuple[Measured, bool]] = {}
    for level in dict.fromkeys((settings.equal_fit, *settings.other_fits)):
        rows = tables["equal_fit"]
        rows = rows[np.isclose(rows["pristine_accuracy"].astype(float), level)]
        for (dataset, model, labels, noise), here in rows.groupby(["dataset", "model", "labels", "noise"]):
            corrupt = {
                str(name): rows_of.set_index("seed")["corrupt_accuracy"].astype(float)
                for name, rows_of in here.groupby("optimizer", sort=False)
            }
            references = [name for name in settings.entries("sgd") if name in corrupt]
            for name, reference in product((one for one in corrupt if one not in references), references):
                where = f"{dataset}, {model}, {name} against {reference}, {labels}, noise {noise:g}, at {level:g}"
                asserted = level == settings.equal_fit and name in settings.suppressing
                alike = [one for one in references if settings.same_rate(one, name, str(model))] or references
                part = _part(corrupt[reference], corrupt[name], name, level, settings)
                trained = (str(dataset), str(model), reference)
                found[where] = replace(part, trained=trained), asserted and reference in alike
    compared = any(asserted and not part.note for part, asserted in found.values())
    return {
        where: replace(part, decides=asserted and not (part.note and compared))
        for where, (part, asserted) in found.items()
    }


def _part(of_sgd: PerSeed, of_method: PerSeed, name: str, level: float, settings: ClaimSettings) -> Measured:
    """SGD's corrupt accuracy minus the method's by seed, with a note where no run of the method comes so far."""
    never = bool(of_method.isna().all())
    note = f"no run of {name} fits {level:g} of the pristine examples: not compared" if never else ""
    return replace(difference_of_accuracies(of_sgd, of_method, settings), note=note)
