"""The learning rates at which a claim is tested, and whether training is stable at them.

What the curves of m-coherence show can be a matter of the learning rate: after a step that went too far all examples
agree to take it back. So the parts of a claim say which rate they are at, and whether it is stable.
"""

import re
from dataclasses import replace

import pandas as pd

from mcoherence.claims.measured import Exact, LearningRate, Measured, Parts, Tables
from mcoherence.claims.rows import sgd_rows
from mcoherence.claims.settings import ClaimSettings

ROUNDING = 1e-9  # of differences of accuracies
RatesOfNetworks = dict[tuple[str, str], dict[str, LearningRate]]  # (data set, network) -> optimiser entry -> its rate


def rates_of(tables: Tables, settings: ClaimSettings) -> RatesOfNetworks:
    """The rates of SGD that a study trains each network with on each data set.

    By the training accuracy in its tables accuracy, sweep and confusion; a network that two of them have counts as the
    first of these says.
    """
    found: RatesOfNetworks = {}
    for runs in _training_accuracies(tables):
        of_sgd = sgd_rows(runs, settings)
        for (dataset, model, optimizer), rows in of_sgd.groupby(["dataset", "model", "optimizer"]):
            rate = settings.rates.get(str(optimizer), {}).get(str(model))
            if rate is not None:
                diverged = "diverged" in rows and bool(rows["diverged"].any())
                fall = largest_fall(rows, settings.fitted, settings.learning_share)
                stable = not diverged and fall <= settings.stable_fall + ROUNDING
                found.setdefault((str(dataset), str(model)), {})[str(optimizer)] = LearningRate(rate, stable)
    return found


def largest_fall(runs: pd.DataFrame, fitted: float, learning_share: float) -> float:
    """The largest fall of the training accuracy from one checkpoint to the next, of any run while it learns.

    A run learns from the first checkpoint at the level c + min(c, (1 - c) learning_share), with c the accuracy before
    training, the mean over the runs, to the one that has fitted. The default, 1 / 9, makes it 2 c where c is 0.1 or
    less, which is chance with ten classes or more; with fewer, where 2 c may be beyond what can be reached, a ninth of
    the way from c to 1. What an untrained network answers changes with its first steps whatever their length,
    with batch norm most of all, whose running statistics are not the data's yet. Of a run that never learns every
    checkpoint before the fit counts. 0 where none falls.

    Args:
        runs: step and accuracy on the labels trained on, of runs of one network that labels and seed tell apart.
        fitted: accuracy from which a run has fitted its labels; what comes later does not count.
        learning_share: of the way from the accuracy before training to 1.
    """
    untrained = float(runs.loc[runs["step"] == runs["step"].min(), "accuracy"].mean())
    level = untrained + min(untrained, (1 - untrained) * learning_share)
    largest = 0.0
    for _, run in runs.groupby(["labels", "seed"]):
        accuracy = run.sort_values("step")["accuracy"].to_numpy()
        learning = (accuracy >= level - ROUNDING).nonzero()[0]
        reached = (accuracy >= fitted).nonzero()[0]
        begin = learning[0] if len(learning) else 0
        course = accuracy[begin : reached[0] + 1] if len(reached) else accuracy[begin:]
        largest = max([largest, *(course[:-1] - course[1:])])
    return float(largest)


def with_rates(parts: Parts, rates: RatesOfNetworks) -> Parts:
    """The parts of one claim, each with the rates of SGD at which the claim is tested in the same condition.

    Whose it is, says a part's `trained`, or its place, which begins with data set, network and optimiser entry. Two
    parts are of one condition where their places differ in entries of SGD alone, and both decide or neither does. So a
    part whose condition the study has at one rate only says so, even where other conditions are tested at two.
    """
    runs = {where: _trained(where, one, rates) for where, one in parts.items() if isinstance(one, Measured)}
    entries = {entry for of_network in rates.values() for entry in of_network}
    conditions = {
        where: (_without(entries, where), isinstance(one, Measured) and one.decides) for where, one in parts.items()
    }
    found: dict[str, Measured | Exact] = {}
    for where, one in parts.items():
        run = runs.get(where)
        if isinstance(one, Exact) or run is None:
            found[where] = one
            continue
        tested = {
            other[1]
            for place, other in runs.items()
            if other and other[0] == run[0] and conditions[place] == conditions[where]
        }
        of_network = {name: rate for name, rate in rates[run[0]].items() if name in tested}
        here = {name: replace(rate, here=name == run[1]) for name, rate in of_network.items()}
        found[where] = replace(one, rates=here)
    return found


def _trained(where: str, measured: Measured, rates: RatesOfNetworks) -> tuple[tuple[str, str], str] | None:
    """((data set, network), entry of SGD) whose runs a part is of, None where it is of no entry with a known rate."""
    for network, of_network in rates.items():
        for entry in of_network:
            if measured.trained == (*network, entry) or f"{where}, ".startswith(f"{', '.join((*network, entry))}, "):
                return network, entry
    return None


def _without(entries: set[str], where: str) -> str:
    """A place without the names of entries, of which two can stand together: `one and other`.

    >>> _without({"sgd", "sgd_slow"}, "digits, mlp, sgd_slow, noise 0"), _without({"sgd", "slow"}, "d, sgd and slow, a")
    ('digits, mlp, , noise 0', 'd, , a')
    """
    name = rf"\b(?:{'|'.join(map(re.escape, sorted(entries)))})\b"
    return re.sub(rf"{name}(?: and {name})?", "", where) if entries else where


def _training_accuracies(tables: Tables) -> list[pd.DataFrame]:
    found = []
    for name in ("confusion", "sweep"):
        if "train_accuracy" in tables.get(name, ()):
            table = tables[name].drop(columns="accuracy", errors="ignore")
            found.append(table.rename(columns={"train_accuracy": "accuracy"}))
    if "part" in tables.get("accuracy", ()):
        found.append(tables["accuracy"].query("part == 'train'"))
    return found
