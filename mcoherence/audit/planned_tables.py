"""The tables of a study before anything runs: the rows that they will have, by the config alone, without their numbers.

So the claims themselves can be asked which of them a study will be able to speak to. Each table's function here gives
the columns that tell its rows apart, and flags; every other column that the table's module describes as a number is a
stand-in that grows along each run. Of runs that differ in their seeds alone there are SEEDS: more say no more. A
column that a table gets needs nothing here, unless it tells rows apart. Nothing is known here of runs that will
diverge.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pandas as pd

from mcoherence.data.subsets import SUBSETS
from mcoherence.files.canonical import canonical_json
from mcoherence.gradients.given.layer_names import layers_of
from mcoherence.models.build import outline
from mcoherence.study.catalogue import TABLES, tables_of
from mcoherence.study.data_sizes import Size, size_of
from mcoherence.study.experiments.label_noise import winsorization
from mcoherence.study.result_names import DIFFICULTY_GROUPS, GROUPS, REDRAWN
from mcoherence.study.results import batch_norm_of, redrawn_labels, steps_of_result
from mcoherence.study.runs import Config, Run, runs_of_grids
from mcoherence.study.settings import model_settings, training_of_run
from mcoherence.study.subset_sizes import trained_examples
from mcoherence.tables import confusion, dictionary, equal_fit, label_errors, toy
from mcoherence.tables.columns import ALL_SEEDS, MEASURED_WORLD, ONE_CHECKPOINT, OTHER_SEEDS, TRAIN_GROUP, WHOLE_NETWORK
from mcoherence.tables.dictionary import columns_of
from mcoherence.tables.overfit import RANDOM_SCHEMES
from mcoherence.tables.rows import TRAIN_SUBSET, run_keys
from mcoherence.tables.runs import run_columns

Rows = Callable[[Run], pd.DataFrame]
SEEDS = 2
EXAMPLES = 100  # what numbers of examples grow to
MEASURES = ("m_coherence", "alpha", "pairwise_alignment")
# Numbers that a table has beside those of its own module.
SHARED_NUMBERS = {
    "accuracy": ("n", "accuracy", "loss"),
    "coherence": ("n", "sq_norm_of_sum", *MEASURES),
    "learning_time": ("n",),
    "overfit": ("train_accuracy", "test_accuracy"),
    "contributions": ("sq_norm_of_sum",),
    "sample_size": MEASURES,
    "easy_hard": ("n", "accuracy", "loss"),
    "difficulty_agreement": ("n",),
    "difficulty_coherence": ("n", *MEASURES, "cosine"),
    "sweep": (*MEASURES, "train_accuracy", "test_accuracy"),
    "confusion": ("train_accuracy",),
}
# Tables of measurements whose batch norm is the study's choice.
MEASURED = frozenset(
    {"coherence", "contributions", "sample_size", "early_stopping", "difficulty_coherence", "sweep", "examples"}
)


def planned_tables(config: Config, wanted: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Those of the wanted tables that the study makes, by name, with stand-ins for their numbers.

    Args:
        config: of the study, with its defaults.
        wanted: names of tables; each needs a function of its name in this module.
    """
    return {name: _WRITTEN[name](config) for name in wanted if name in tables_of(config)}


def _accuracy(config: Config) -> pd.DataFrame:
    table = _with_numbers(config, "accuracy", lambda run: _crossed(_course(config, run, "evaluation"), part=_PARTS))
    return _without_examples(table, "part")


def _coherence(config: Config) -> pd.DataFrame:
    def rows(run: Run) -> pd.DataFrame:
        layers = {WHOLE_NETWORK: "", **_layers_of_run(config, run)}
        groups = (TRAIN_GROUP, *GROUPS, *([REDRAWN] if redrawn_labels(config, run) else []))
        found = _crossed(_course(config, run), group=groups, layer=tuple(layers))
        return found.assign(layer_type=found["layer"].map(layers))

    return _without_examples(_with_numbers(config, "coherence", rows), "group")


def _learning_time(config: Config) -> pd.DataFrame:
    rows = pd.DataFrame({"group": ["all", "pristine", "corrupt"]})
    return _without_examples(_with_numbers(config, "learning_time", lambda run: rows), "group")


def _overfit(config: Config) -> pd.DataFrame:
    families = winsorization(config)

    def rows(run: Run) -> pd.DataFrame:
        family = families.get(run.optimizer, {"c": np.nan, "alike": -1})
        return _course(config, run, "evaluation").assign(c=float(family["c"]), alike=family["alike"])

    table = _with_numbers(config, "overfit", rows)
    schemes = table["labels"].map(lambda name: config["labels"][name].get("scheme", RANDOM_SCHEMES[0]))
    at_random = schemes.isin(RANDOM_SCHEMES) | (table["noise"] == 0)
    return table.assign(**{name: table[name].where(at_random) for name in ("overfit", "proper_accuracy")})


def _equal_fit(config: Config) -> pd.DataFrame:
    return equal_fit.at_levels(_accuracy(config), **TABLES["equal_fit"].own(config))


def _early_stopping(config: Config) -> pd.DataFrame:
    return _with_numbers(config, "early_stopping", lambda run: pd.DataFrame(index=[0]))


def _contributions(config: Config) -> pd.DataFrame:
    worlds = [MEASURED_WORLD, *(f"null {world + 1}" for world in range(config["contributions"]["null_worlds"]))]
    return _with_numbers(config, "contributions", lambda run: _crossed(_course(config, run), world=worlds))


def _sample_size(config: Config) -> pd.DataFrame:
    own = config["measurement"]["sample_size"]
    sizes = [own, *config["sample_size"]["sizes"]]
    table = _with_numbers(config, "sample_size", lambda run: _crossed(_course(config, run), m=sizes))
    return table.assign(own_sample=table["m"] == own)


def _easy_hard(config: Config) -> pd.DataFrame:
    rows = pd.DataFrame({"test_subset": [*SUBSETS, "original"]})
    return _with_numbers(config, "easy_hard", lambda run: rows).rename(columns={"subset": TRAIN_SUBSET})


def _difficulty(config: Config) -> pd.DataFrame:
    def rows(run: Run) -> pd.DataFrame:
        fraction = config["labels"][run.labels]["fraction"]
        changed = {0: [False, False], 1: [True, True]}.get(fraction, [False, True])
        return pd.DataFrame(
            {"example": [0, 1], "original": 0, "label": np.array(changed, dtype=int), "changed": changed}
        )

    table = _with_numbers(config, "difficulty", rows)
    if not TABLES["difficulty"].own(config)["second_split"]:
        table = table.assign(first_split_learned_at=np.nan, second_split_forgotten_at=np.nan)
    return table


def _difficulty_agreement(config: Config) -> pd.DataFrame:
    runs = _runs("difficulty_agreement", config)

    def rows(run: Run) -> pd.DataFrame:
        alike = [one for one in runs if (one.dataset, one.model) == (run.dataset, run.model) and one != run]
        others = [*(str(one.seed) for one in alike), *((OTHER_SEEDS, ALL_SEEDS) if alike else ())]
        return pd.DataFrame({"other": [*others, ONE_CHECKPOINT], "step": np.nan})

    return _with_numbers(config, "difficulty_agreement", rows)


def _difficulty_coherence(config: Config) -> pd.DataFrame:
    pairs = pd.DataFrame(combinations_with_replacement(DIFFICULTY_GROUPS, 2), columns=["group", "other"])
    table = _with_numbers(config, "difficulty_coherence", lambda run: _course(config, run).merge(pairs, how="cross"))
    within = table["group"] == table["other"]
    return table.assign(**{name: table[name].where(within) for name in MEASURES})


def _sweep(config: Config) -> pd.DataFrame:
    values = TABLES["sweep"].own(config)["values"]

    def rows(run: Run) -> pd.DataFrame:
        settings = [(name, of[run.model]) for name, of in values.items() if run.model in of]
        found = pd.DataFrame(settings, columns=["setting", "value"]).merge(_course(config, run), how="cross")
        return found.assign(past_transient=True)  # where it ends is read off the curve

    return _with_numbers(config, "sweep", rows)


def _confusion(config: Config) -> pd.DataFrame:
    structures = TABLES["confusion"].own(config)["structures"]

    def rows(run: Run) -> pd.DataFrame:
        structure = structures[run.model]
        return _course(config, run).assign(**structure, batch_norm=confusion.mini_batch_statistics(structure))

    return _with_numbers(config, "confusion", rows)


def _median_scale(config: Config) -> pd.DataFrame:
    own, rates = TABLES["median_scale"].own(config), config["median_scale"]["rates"]

    def rows(run: Run) -> pd.DataFrame:
        entry = own["entries"][run.optimizer]
        known = {
            "method": entry["method"],
            "reference": entry["method"] == own["reference"],
            "batch_size": entry["batch_size"],
            "rate": float(entry["rate"]),
            "tuning": run.seed in own["tuning_seeds"],
            "chosen": entry["rate"] == rates[0],  # one of them will be
            "group_size": float(entry["group_size"]),
            "per_class": entry["group_size"] / size_of(config["datasets"][run.dataset]).classes,
        }
        return pd.DataFrame([known])

    return _with_numbers(config, "median_scale", rows)


def _label_errors(config: Config) -> pd.DataFrame:
    table = _with_numbers(config, "examples", lambda run: pd.DataFrame({"changed": [False, True]}))
    return label_errors.detections(table, **TABLES["label_errors"].own(config))


def _toy(config: Config) -> pd.DataFrame:
    return toy.table("", (), {}, **TABLES["toy"].own(config))


_PARTS = ("train", "pristine", "corrupt", "test")
_WRITTEN: dict[str, Callable[[Config], pd.DataFrame]] = {
    "accuracy": _accuracy,
    "coherence": _coherence,
    "learning_time": _learning_time,
    "overfit": _overfit,
    "equal_fit": _equal_fit,
    "early_stopping": _early_stopping,
    "contributions": _contributions,
    "sample_size": _sample_size,
    "easy_hard": _easy_hard,
    "difficulty": _difficulty,
    "difficulty_agreement": _difficulty_agreement,
    "difficulty_coherence": _difficulty_coherence,
    "sweep": _sweep,
    "confusion": _confusion,
    "median_scale": _median_scale,
    "label_errors": _label_errors,
    "toy": _toy,
}
KNOWN = frozenset(_WRITTEN)  # the tables that can be had ahead


def _runs(table: str, config: Config) -> list[Run]:
    """The runs that a table has rows of, the first SEEDS of those that differ in their seeds alone.

    Seeds that choose a rate are no further seeds of what is reported.
    """
    choosing = TABLES[table].own(config).get("tuning_seeds", ())
    found: dict[tuple[Run, bool], list[Run]] = {}
    for run in runs_of_grids(TABLES[table].runs(config)):
        found.setdefault((replace(run, seed=0), run.seed in choosing), []).append(run)
    return [run for alike in found.values() for run in alike[:SEEDS]]


def _course(config: Config, run: Run, made_from: str = "coherence") -> pd.DataFrame:
    """Steps and epochs of the checkpoints of a result; an epoch of a part of unknown size counts as one update."""
    training = training_of_run(config, run)
    steps = np.array(steps_of_result(config, run, made_from))
    examples = trained_examples(config, run) or size_of(config["datasets"][run.dataset]).train
    return pd.DataFrame({"step": steps, "epoch": steps / max(examples // training["batch_size"], 1)})


def _crossed(rows: pd.DataFrame, **columns: Sequence[Any]) -> pd.DataFrame:
    """Each row with each combination of the columns' values."""
    for name, values in columns.items():
        rows = rows.merge(pd.DataFrame({name: list(values)}), how="cross")
    return rows


def _with_numbers(config: Config, name: str, rows: Rows) -> pd.DataFrame:
    """The table's rows with the columns that name their runs, and a stand-in for every number that it has none of.

    Those of measurements say besides by what statistics batch norm normalises.
    """
    runs = _runs(name, config)
    noise = {run.labels: config["labels"][run.labels]["fraction"] for run in runs}
    frames = [rows(run) for run in runs]
    named = pd.DataFrame([run_columns(run, noise) for run in runs])  # at once: a study has thousands of runs
    if name in MEASURED:
        named["batch_norm"] = [batch_norm_of(config, run) for run in runs]
    named = named.loc[np.repeat(np.arange(len(runs)), list(map(len, frames)))].reset_index(drop=True)
    table = pd.concat([named, pd.concat(frames, ignore_index=True)], axis=1)
    own = [
        column for column, described in columns_of(name).items() if described.unit and column not in dictionary.COLUMNS
    ]
    place = np.ones(len(table))
    if "step" in table and table["step"].notna().all():
        last = table.groupby(run_keys(table))["step"].transform("max")
        place = ((table["step"] + 1) / (last + 1)).to_numpy()
    units = {column: described.unit for column, described in columns_of(name).items()}
    stand_ins = {
        column: EXAMPLES * place if units[column] == "examples" else place
        for column in (*own, *SHARED_NUMBERS.get(name, ()))
        if column not in table
    }
    return pd.concat([table, pd.DataFrame({**stand_ins, "diverged": False}, index=table.index)], axis=1)


def _without_examples(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table without numbers where clean labels leave no corrupt examples."""
    empty = (table["noise"] == 0) & (table[column] == "corrupt")
    keys = {*run_keys(table), "step", "epoch"}
    numbers = [str(name) for name in table.select_dtypes("number") if name not in keys]
    return table.assign(**{name: table[name].mask(empty) for name in numbers})


def _layers_of_run(config: Config, run: Run) -> dict[str, str]:
    """Layer -> class of its module, in the network's order."""
    return _layers(canonical_json(model_settings(config, run.model)), size_of(config["datasets"][run.dataset]))


@cache
def _layers(model: str, size: Size) -> dict[str, str]:
    network = outline(json.loads(model), size.shape, size.classes)
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    return {layer: type(network.get_submodule(layer)).__name__ for layer in layers_of(trained)}
