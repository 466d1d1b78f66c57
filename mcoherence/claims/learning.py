"""Claims about what networks learn, when, and how it carries over to new examples."""

from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.claims.measured import DIVERGED, Exact, Measured, Parts, PerSeed, Tables, difference_of_accuracies
from mcoherence.claims.nulls import Null, equal_conditions
from mcoherence.claims.registry import claim
from mcoherence.claims.rows import (
    by_label_set,
    clean_and_random,
    label_sets_by_noise,
    log10,
    log10_time_to_reach,
    log_spacing,
    neighbours,
    of_sgd,
)
from mcoherence.claims.settings import ClaimSettings
from mcoherence.tables.columns import TOY_TRAINING_EXAMPLES
from mcoherence.tables.rows import last_rows, partly_random

Float64Array = NDArray[np.float64]
Values = TypeVar("Values", PerSeed, Float64Array)
Labelled = TypeVar("Labelled", pd.Series, pd.DataFrame)
TRAINED_ON = ("easy", "hard", "random")


@claim(
    "P8",
    "The time to reach a fixed training accuracy grows with label noise.",
    short="noise slows learning",
    source="arXiv 2002.10657",
    statistic="log10 of the ratio of the times, more over less noise",
    unit="factor",
    figure="training_curves",
    tables=("accuracy",),
    needs="runs of SGD at two noise levels",
)
def time_grows_with_noise(tables: Tables, settings: ClaimSettings) -> Parts:
    """Log10 ratio of the times to the target accuracy of neighbouring noise levels, per network under SGD.

    The time is interpolated between checkpoints, and not known better than to the gap between them; a run that never
    reaches the target counts with its last step, a lower bound of its time. Two such runs say nothing about their
    order, and have no number.
    """
    parts = {}
    training = tables["accuracy"].query("part == 'train'")
    for where, curves in of_sgd(training, settings):
        runs = curves.groupby(["labels", "seed"])
        times = pd.Series(
            {
                key: log10_time_to_reach(settings.target_accuracy, curve["step"], curve["accuracy"])
                for key, curve in runs
            }
        ).rename_axis(["labels", "seed"])
        reached = pd.Series(runs["accuracy"].max() >= settings.target_accuracy)
        known = times.where(reached)
        steps = curves["step"]
        before_all = steps[log10(steps.clip(lower=1)) <= times.min()].max()
        for less, more in neighbours(curves):
            longer = times.xs(more.labels) - times.xs(less.labels)
            parts[f"{where}, {more.words} over {less.level}"] = Measured(
                longer.where(reached.xs(more.labels) | reached.xs(less.labels)),
                null=equal_conditions([known.xs(one.labels) for one in (less, more)], settings.confidence),
                resolution=log_spacing(steps[steps >= before_all]),
                missing_because="in the others no run of either kind reaches the target",
            )
    return parts


@claim(
    "P9",
    "Pristine examples are learned before corrupt ones: the former nearly as fast as without noise, the latter nearly"
    " as slowly as with all labels random.",
    short="pristine learned before corrupt",
    source="arXiv 2002.10657",
    statistic=(
        "log10 of the ratio of the median learning times, corrupt over pristine; and how much nearer, in log10 time, "
        "each group is to its counterpart than to the other"
    ),
    unit="factor",
    figure="training_curves",
    tables=("accuracy", "learning_time"),
    needs="runs of SGD with labels that are random in part (noise between 0 and 1)",
)
def pristine_before_corrupt(tables: Tables, settings: ClaimSettings) -> Parts:
    """Learning times of pristine and corrupt examples against each other and against the extremes, under SGD.

    A group of which at most half is ever learned counts with the last step, a lower bound of its median. What only such
    bounds decide has no number: the order of two groups that are never learned, and how near a group is to one that is
    not.
    """
    parts: dict[str, Measured] = {}
    accuracy = dict(of_sgd(tables["accuracy"], settings))
    for where, rows in of_sgd(tables["learning_time"], settings):
        steps = accuracy.get(where, tables["accuracy"])["step"]
        last_step = float(steps.max())
        times = log10(rows["median_step"].clip(lower=1, upper=last_step).astype(float))
        keys = [rows["labels"], rows["group"], rows["seed"]]
        medians = times.groupby(keys).first()
        learned = (rows["median_step"] <= last_step).groupby(keys).first()
        # A median is known to the checkpoint that follows it.
        spacing = log_spacing(steps[steps >= rows["median_step"].clip(lower=1).min()])
        for one in label_sets_by_noise(partly_random(rows)):
            here = f"{where}, {one.words}"
            groups = {name: (one.labels, name) for name in ("pristine", "corrupt")}
            pristine, corrupt = (medians[groups[name]] for name in ("pristine", "corrupt"))
            ordered = learned[groups["pristine"]] | learned[groups["corrupt"]]
            parts[f"{here}, corrupt after pristine"] = Measured(
                (corrupt - pristine).where(ordered),
                null=equal_conditions([pristine, corrupt], settings.confidence),
                resolution=spacing,
                missing_because="in the others half of neither group is ever learned",
            )
            for clean, random, added in clean_and_random(rows):
                groups |= {"no noise": (clean.labels, "all"), "all random": (random.labels, "all")}
                times_of = {name: medians[key] for name, key in groups.items()}
                learned_by = {name: learned[key] for name, key in groups.items()}
                for name, own, other in (("pristine", "no noise", "all random"), ("corrupt", "all random", "no noise")):
                    known = learned_by[own] & (learned_by[name] | learned_by[other])
                    parts[f"{here}, {name} nearer to {own}{added}"] = Measured(
                        _nearer(times_of[name], times_of[own], times_of[other]).where(known),
                        null=equal_conditions(list(times_of.values()), settings.confidence, _nearer, drawn=3),
                        resolution=2 * spacing,
                        missing_because="in the others only times that were not reached would decide",
                    )
    return parts


def _nearer(times: Values, own: Values, other: Values) -> Values:
    """How much nearer times are to their counterpart's than to the other's."""
    return abs(times - other) - abs(times - own)


@claim(
    "P13",
    "M3 and RM3 leave a smaller gap between training and test accuracy than SGD at every noise level, and fit fewer "
    "corrupt labels.",
    short="M3, RM3: smaller gap than SGD",
    source="arXiv 2003.07422",
    statistic=(
        "gap of SGD minus that of the method, and the same of the accuracy on corrupt labels, at the last step; at "
        "the noise levels where the study has both"
    ),
    unit="points",
    figure="generalization_gap",
    tables=("accuracy",),
    needs="runs of SGD, and of M3 or RM3, at the same noise levels",
)
def suppression_narrows_gap(tables: Tables, settings: ClaimSettings) -> Parts:
    """How much smaller the gap and the corrupt accuracy of M3 and RM3 are than SGD's, at the last step.

    Only with the SGD of the method's own rate: at a lower one every method memorises later. At the noise levels where
    the study has both: an optimiser that is not run at a level is not compared there, one
    whose runs there diverged leaves the comparison open.
    """
    accuracy = tables["accuracy"]
    final = last_rows(accuracy)
    asked_for = pd.concat([accuracy, tables[DIVERGED]]) if DIVERGED in tables else accuracy
    # Not settings.robust: an update of m3_successive takes a mini-batch for each group, so that at its last step it has
    # seen several times the examples of SGD, and a gap or fit beside SGD's would not compare like with like.
    methods = (*settings.entries("m3"), *settings.entries("rm3"))
    parts = {}
    for (dataset, model), one, rows in by_label_set(final, ["dataset", "model"]):
        scores = rows.pivot_table(index=["optimizer", "seed"], columns="part", values="accuracy")
        gap = scores["train"] - scores["test"]
        here = asked_for.query("dataset == @dataset and model == @model and labels == @one.labels")
        present = set(here["optimizer"])
        for reference in filter(present.__contains__, settings.entries("sgd")):
            for name in filter(present.__contains__, methods):
                if not settings.same_rate(reference, name, model):
                    continue
                where = f"{dataset}, {model}, {name} against {reference}, {one.words}"
                parts[f"{where}, gap"] = difference_of_accuracies(
                    _of_entry(gap, reference), _of_entry(gap, name), settings
                )
                if "corrupt" in scores and one.noise != 0:
                    own, others = (_of_entry(scores["corrupt"], entry) for entry in (name, reference))
                    parts[f"{where}, corrupt accuracy"] = difference_of_accuracies(others, own, settings)
    return parts


@claim(
    "P15",
    "A network that is trained and tested on easy examples generalises better than one trained and tested on hard "
    "ones, by more than the advantage that any network has on easy test examples.",
    short="easy generalises better than hard",
    source="arXiv 2003.07422; the control is this project's",
    statistic=(
        "test accuracy easy on easy minus hard on hard, less what a network trained on random examples is better on "
        "easy than on hard ones"
    ),
    unit="points",
    figure="easy_hard",
    tables=("easy_hard",),
    needs="networks trained on easy and on hard examples",
)
def easy_beats_hard(tables: Tables, settings: ClaimSettings) -> Parts:
    """Test accuracy of easy on easy minus hard on hard, less random on easy minus random on hard, per network.

    Easy test examples are easy for any network, so the first difference alone says that the selection worked.
    """
    parts = {}
    for (dataset, model), rows in tables["easy_hard"].groupby(["dataset", "model"]):
        cells = rows.pivot_table(index=["train_subset", "seed"], columns="test_subset", values="accuracy")
        by_subset = {name: _of_entry(cells[["easy", "hard"]], name) for name in TRAINED_ON}
        easy, hard, control = (by_subset[name] for name in TRAINED_ON)
        plain, any_network = easy["easy"] - hard["hard"], control["easy"] - control["hard"]
        parts[f"{dataset}, {model}"] = Measured(
            plain - any_network,
            null=_null_of_subsets(list(by_subset.values()), settings),
            margin=settings.equivalence_margin,
            note=f"easy on easy minus hard on hard {plain.mean():+.3f}; of networks trained on random examples, easy "
            f"minus hard {any_network.mean():+.3f}",
        )
    return parts


def _null_of_subsets(subsets: list[pd.DataFrame], settings: ClaimSettings) -> Null:
    """What P15 gives where it does not matter what is trained on: all networks trained on one and the same part.

    subsets: accuracy on easy and on hard test examples by seed, for each part that networks were trained on.
    """

    def statistic(first: Float64Array, second: Float64Array, control: Float64Array) -> Float64Array:
        return first[:, 0] - second[:, 1] - (control[:, 0] - control[:, 1])

    return equal_conditions(subsets, settings.confidence, statistic, drawn=3)


@claim(
    "P18",
    "Gradient descent generalises from the real data of a regression in six dimensions, whose gradients agree, and "
    "not from the random data, whose gradients are orthogonal.",
    short="toy regression generalises",
    source=(
        "arXiv 2203.10036, section 3: its data; the values, at convergence 0.5 - 0.02 and 2.5 - 1, are derived here "
        "and not the paper's"
    ),
    statistic=(
        "fall of the test loss with real data, less its change with random data; m-coherence of the training "
        "gradients, the least with real less the greatest with random data"
    ),
    unit="number",
    figure="toy_regression",
    tables=("toy",),
    needs="both regressions",
)
def real_regression_generalises(tables: Tables) -> Parts:
    """Test loss and m-coherence of the six-dimensional regressions, real against random; exact, without seeds."""
    toy = tables["toy"]
    toy = toy[(toy["trained_on"] == TOY_TRAINING_EXAMPLES) & (toy["measured"] == TOY_TRAINING_EXAMPLES)]
    toy = toy.sort_values("step").set_index("data")
    real, random = toy.loc["real"], toy.loc["random"]
    # A unit in the last place for every step: generous, since each step of the descent shrinks the errors before it.
    rounding = float(np.finfo(np.float64).eps * (1 + toy["step"].max()))
    fall, change = (float(rows["test_loss"].iloc[0] - rows["test_loss"].iloc[-1]) for rows in (real, random))
    coherence = float(real["m_coherence"].min() - random["m_coherence"].max())
    return {
        "test loss": Exact(fall - abs(change), rounding),
        "m-coherence at every checkpoint": Exact(coherence, rounding),
    }


def _of_entry(values: Labelled, name: str) -> Labelled:
    """The values whose first index level is `name`, without that level; empty where there are none."""
    chosen: Labelled = values[values.index.get_level_values(0) == name]
    return chosen.droplevel(0)
