"""Statements about easy and hard examples that the four papers do not make, or not with numbers: reported only.

What they come to says something about this study, and nothing about a published result.
"""

import numpy as np
import pandas as pd

from mcoherence.claims.measured import Measured, Parts, Tables
from mcoherence.claims.nulls import around, equal_conditions, shuffled_tags, unrelated_choices
from mcoherence.claims.registry import claim
from mcoherence.claims.rows import early, early_windows, log10, past_transient
from mcoherence.claims.settings import ClaimSettings
from mcoherence.study.result_names import FULL, difficulty_group
from mcoherence.tables.columns import OTHER_SEEDS
from mcoherence.tables.rank_statistics import probability_of_more

EASY_TRAIN, HARD_TRAIN = (difficulty_group(subset, "train") for subset in ("easy", "hard"))
HARD_TEST = difficulty_group("hard", "test")


@claim(
    "E1",
    "Early in training, past the transient, easy examples are more coherent among themselves than hard ones.",
    short="easy more coherent early",
    source="implied by arXiv 2003.07422 and 2203.10036; no published numbers",
    statistic="log10 of the ratio of the geometric means of m-coherence early in training, easy over hard",
    unit="factor",
    figure="difficulty_coherence",
    tables=("difficulty_coherence", "accuracy"),
    needs="gradients measured on easy and on hard examples",
    level="III",
)
def easy_more_coherent_early(tables: Tables, settings: ClaimSettings) -> Parts:
    """Log10 ratio of early m-coherence, easy over hard examples of one number, along the reference runs."""
    parts = {}
    windows = early_windows(tables["accuracy"], settings)
    for where, rows in _networks(tables["difficulty_coherence"]):
        own = rows[(rows["subset"] == FULL) & (rows["group"] == rows["other"])]
        within = early(past_transient(own, settings, by=("group",)), windows)
        means = log10(within["m_coherence"]).groupby([within["group"], within["seed"]]).mean()
        easy, hard = (_of(means, group) for group in (EASY_TRAIN, HARD_TRAIN))
        null = equal_conditions([easy, hard], settings.confidence)
        parts[where] = Measured(easy - hard, null=null, trained=_trained(rows))
    return parts


@claim(
    "E2",
    "Early in training on easy examples alone, a step along them lowers the loss of hard ones too.",
    short="easy steps help hard ones",
    source="implied by arXiv 2003.07422; no published numbers",
    statistic="mean cosine of the mean gradients of easy training and hard test examples early in training",
    unit="number",
    figure="difficulty_coherence",
    tables=("difficulty_coherence", "accuracy"),
    needs="networks trained on easy examples, with gradients of hard ones measured",
    level="III",
)
def easy_step_helps_hard(tables: Tables, settings: ClaimSettings) -> Parts:
    """Early cosine between mean gradients, of easy and of hard examples, along runs on the easy ones only.

    It is above 0 where a small step along the one lowers the loss of the other. That may be so before anything is
    learned, so the value at step 0 stands beside it.
    """
    parts = {}
    windows = early_windows(tables["accuracy"], settings)
    for where, rows in _networks(tables["difficulty_coherence"]):
        pair = _pair(rows[rows["subset"] == "easy"], EASY_TRAIN, HARD_TEST)
        cosine = early(pair, windows).groupby("seed")["cosine"].mean()
        null = around(0.0, cosine, settings.confidence, "gradients that have nothing to do with one another")
        untrained = pair.loc[pair["step"] == 0, "cosine"].mean()
        parts[where] = Measured(cosine, null=null, trained=_trained(rows), note=f"before training {untrained:+.3f}")
    return parts


@claim(
    "E3",
    "Early in training, a step along easy examples carries over to other easy ones more than one along hard examples "
    "does to other hard ones.",
    short="easy carries over more",
    source="implied by arXiv 2003.07422; no published numbers",
    statistic=("mean cosine of the mean gradients of training and test examples early in training, easy minus hard"),
    unit="number",
    figure="difficulty_coherence",
    tables=("difficulty_coherence", "accuracy"),
    needs="networks trained on easy and on hard examples, with gradients measured",
    level="III",
)
def easy_step_carries_over(tables: Tables, settings: ClaimSettings) -> Parts:
    """Early cosine with held-out examples of its own kind, of runs on easy examples minus runs on hard ones."""
    parts = {}
    windows = early_windows(tables["accuracy"], settings)
    for where, rows in _networks(tables["difficulty_coherence"]):
        first = early(rows, windows)
        easy, hard = (
            _pair(first[first["subset"] == kind], difficulty_group(kind, "train"), difficulty_group(kind, "test"))
            .groupby("seed")["cosine"]
            .mean()
            for kind in ("easy", "hard")
        )
        null = equal_conditions([easy, hard], settings.confidence)
        parts[where] = Measured(easy - hard, null=null, trained=_trained(rows))
    return parts


@claim(
    "E4",
    "Runs from other seeds call the same examples easy.",
    short="seeds agree on what is easy",
    source="assumed where one run makes the split, as in arXiv 2003.07422; no published numbers",
    statistic="overlap of a seed's easy examples with those of the other seeds, minus the overlap by chance",
    unit="points",
    figure="difficulty",
    tables=("difficulty_agreement",),
    needs="reference runs of several seeds",
    level="III",
)
def seeds_agree(tables: Tables, settings: ClaimSettings) -> Parts:
    """Share of a run's easy examples that the other seeds call easy too, minus the share by chance."""
    parts = {}
    for where, rows in _networks(tables["difficulty_agreement"]):
        others = rows[rows["other"] == OTHER_SEEDS].set_index("seed")
        if not others.empty:
            null = unrelated_choices(others["n"].tolist(), others["chance"].tolist(), settings.confidence)
            parts[where] = Measured(others["easy_overlap"] - others["chance"], null=null)
    return parts


@claim(
    "E5",
    "Examples with a changed label are harder than pristine ones.",
    short="changed labels are harder",
    source="follows from arXiv 2002.10657 (learning times), for the score of this project",
    statistic="probability that a corrupt example ranks as harder than a pristine one, minus 1/2",
    unit="points",
    figure="difficulty",
    tables=("difficulty",),
    needs="reference runs on labels that are random in part",
    level="III",
)
def corrupt_is_harder(tables: Tables, settings: ClaimSettings) -> Parts:
    """Probability that a corrupt example ranks as harder than a pristine one, minus 1/2."""
    return _corrupt_against_pristine(tables["difficulty"], "rank", 1, settings)


@claim(
    "E6",
    "Examples with a changed label are forgotten more often than pristine ones.",
    short="changed labels are forgotten",
    source="Toneva et al., arXiv 1812.05159, at presentations; here at checkpoints",
    statistic="probability that a corrupt example has more forgetting events than a pristine one, minus 1/2",
    unit="points",
    figure="difficulty",
    tables=("difficulty",),
    needs="reference runs on labels that are random in part",
    level="III",
)
def corrupt_is_forgotten_more(tables: Tables, settings: ClaimSettings) -> Parts:
    """Probability that a corrupt example has more forgetting events than a pristine one, minus 1/2."""
    return _corrupt_against_pristine(tables["difficulty"], "forgetting_events", 1, settings)


@claim(
    "E7",
    "Examples with a changed label are the first to be forgotten when training goes on with other examples.",
    short="changed labels forgotten first",
    source="Maini et al., arXiv 2210.15031, on CIFAR-10 and others",
    statistic="probability that a corrupt example is forgotten before a pristine one, minus 1/2",
    unit="points",
    figure="second_split",
    tables=("difficulty",),
    needs="reference runs on labels that are random in part, and training that went on with the other half",
    level="III",
)
def corrupt_is_forgotten_first(tables: Tables, settings: ClaimSettings) -> Parts:
    """Probability that a corrupt example is forgotten before a pristine one in the second stage, minus 1/2."""
    return _corrupt_against_pristine(tables["difficulty"], "second_split_forgotten_at", -1, settings)


def _corrupt_against_pristine(table: pd.DataFrame, column: str, sign: int, settings: ClaimSettings) -> Parts:
    parts = {}
    rows = table[table[column].notna()]
    for where, network in _networks(rows[rows.groupby(["dataset", "model"])["changed"].transform("any")]):
        runs = dict(list(network.groupby("seed")))
        scores = {seed: sign * run[column].to_numpy(np.float64) for seed, run in runs.items()}
        changed = {seed: run["changed"].to_numpy(np.bool_) for seed, run in runs.items()}
        probabilities = {
            seed: probability_of_more(scores[seed][changed[seed]], scores[seed][~changed[seed]]) for seed in runs
        }
        null = shuffled_tags(
            list(scores.values()), list(changed.values()), settings.confidence, "the tags pristine and corrupt"
        )
        parts[where] = Measured(pd.Series(probabilities) - 0.5, null=null)
    return parts


def _networks(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(f"{dataset}, {model}", rows) for (dataset, model), rows in table.groupby(["dataset", "model"])]


def _trained(rows: pd.DataFrame) -> tuple[str, str, str]:
    """Data set, network and optimiser entry of a network's runs: a study has one entry for all its runs on difficulty.

    The places of parts do not name it.
    """
    dataset, model, optimizer = rows[["dataset", "model", "optimizer"]].iloc[0]
    return str(dataset), str(model), str(optimizer)


def _pair(rows: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """The rows between two different groups, in whichever order the table has them."""
    pair = {first, second}
    return rows[rows["group"].isin(pair) & rows["other"].isin(pair) & (rows["group"] != rows["other"])]


def _of(means: pd.Series, group: str) -> pd.Series:
    return means[means.index.get_level_values("group") == group].droplevel("group")
