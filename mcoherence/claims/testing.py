"""The papers' claims as tests with uncertainty: tidy tables in, verdicts out.

Every part of a claim is one number per seed, oriented so that the claim predicts it to be positive. What is compared,
is compared within a seed, on one sample size m and in eval mode, and peaks are taken past the initial transient. The
interval is the percentile bootstrap over seeds; because that is too narrow for a few seeds (see `intervals`), Student's
t is worked out as well and the verdict wants both. Both are widened by the resolution of the checkpoints where a time
is read off them: seeds that fall on the same checkpoint agree to its spacing, not exactly. Beside its intervals a part
has its null: what the statistic gives where there is nothing to find (`nulls`). How verdicts follow is in `verdicts`:
supported wants all parts, each above 0 and above its null, and is not corrected for their number; not supported wants
one part below the margin and below its null, at a level that is. An experiment without chance has one exact number
instead, known to rounding. A claim that the study has no runs for is not tested, and says what is missing.

Levels: II is what the papers assert, which gets a verdict; III is plausible and not known to be published, which is
reported with its intervals and gets none. "own" is a statement of this project, its statistic and thresholds fixed by
the code and the settings before a study is run: it is tested as level II is, and its verdict is about no paper. (I,
exact identities, are tests of the code: see `identities`.)

Intervals are over seeds. A seed bundles initial weights, order of examples and corruption of labels; images, their
split and the measured sample are the same with all seeds, unless the study says otherwise, and no interval covers them.

A run that diverged, even late, takes part in no statistic, because what it reached before would count as its end. A
seed that has no partner then makes its part inconclusive, and every claim names the runs that are left out.

Statements and sources: ids P1 ... P18 are this project's list of what the four papers assert; the source names the
paper (arXiv id) that asserts it. Verdicts concern this study's data and networks, not the papers' experiments.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Literal

import pandas as pd

from mcoherence.claims.learning_rates import RatesOfNetworks, rates_of, with_rates
from mcoherence.claims.measured import DIVERGED, Measured, Parts, Tables, Unit
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.verdicts import Part, Verdict, corrected, part_of
from mcoherence.tables.rows import run_keys

Level = Literal["II", "III", "own"]
ClaimVerdict = Verdict | Literal["not tested"]


@dataclass(frozen=True)
class Claim:
    """One claim of the papers, tested: the part that decides the verdict stands for the whole.

    `missing` says what the study would need to speak to the claim; it is None where the claim is tested.
    """

    id: str
    statement: str
    source: str
    level: Level
    statistic: str
    parts: tuple[Part, ...]
    diverged: tuple[str, ...] = ()  # the study's runs that diverged and are left out
    missing: str | None = None
    short: str = ""
    unit: Unit = "number"
    figure: str = ""

    @property
    def decisive(self) -> Part | None:
        """The part that carries the claim least, of those that the verdict hangs on; of all where none is tested."""
        tested = [part for part in self.parts if part.verdict != "reported"]
        return min(tested or self.parts, key=lambda part: part.support, default=None)

    @property
    def verdict(self) -> ClaimVerdict:
        """Supported if all tested parts are; not supported if any is not; inconclusive, reported or not tested."""
        if self.missing is not None:
            return "not tested"
        verdicts = {part.verdict for part in self.parts} - {"reported"}
        if not verdicts:
            return "reported"
        if "not supported" in verdicts:
            return "not supported"
        return "supported" if verdicts == {"supported"} else "inconclusive"


@dataclass(frozen=True)
class Description:
    """What a claim says and how it is tested, as `mcoherence.claims.registry.claim` takes it.

    function: (tables, settings) -> parts, or (tables) -> parts where no setting matters.
    """

    id: str
    statement: str
    short: str
    source: str
    statistic: str
    unit: Unit
    figure: str
    function: Callable[..., Parts]
    tables: tuple[str, ...]
    needs: str
    level: Level = "II"
    asserted_from: int = 0

    @property
    def module(self) -> str:
        """The module that the claim is in."""
        return self.function.__module__

    def parts(self, tables: Tables, settings: ClaimSettings) -> Parts:
        """The parts of the claim on a study's tables, of which the function gets those that it says it reads."""
        read = {name: tables[name] for name in (*self.tables, DIVERGED) if name in tables}
        with_settings = len(signature(self.function).parameters) > 1
        return self.function(read, settings) if with_settings else self.function(read)

    def is_reported(self, settings: ClaimSettings) -> bool:
        """Whether a study of these settings reports the claim without a verdict."""
        sides = settings.image_sides.values()
        return self.level == "III" or any(side < self.asserted_from for side in sides)


def check_claims(tables: Tables, settings: ClaimSettings, descriptions: Sequence[Description]) -> list[Claim]:
    """The papers' claims P1, P2, ... and then further statements E1, E2, ..., with those not spoken to by the study.

    Args:
        tables: the tables that the study has, by name.
        settings: confidence and thresholds.
        descriptions: the claims, see `mcoherence.claims.registry`.
    """
    diverged = tuple(dict.fromkeys(run for table in tables.values() for run in diverged_runs(table)))
    trained = {name: without_diverged(table) for name, table in tables.items()}
    if "accuracy" in tables:
        trained[DIVERGED] = tables["accuracy"][_is_diverged(tables["accuracy"])]
    ordered = sorted(descriptions, key=lambda description: (description.id[0] != "P", int(description.id[1:])))
    rates = rates_of(tables, settings)
    return [_claim(settings, trained, diverged, rates, description) for description in ordered]


def diverged_runs(table: pd.DataFrame) -> list[str]:
    """The runs of a table that diverged, by their names in its order, such as "digits, mlp, clean, sgd, seed 0"."""
    if "diverged" not in table:
        return []
    rows = table[table["diverged"].astype(bool)]  # an empty table has columns of no type
    runs = zip(*(rows[key] for key in run_keys(rows) if key != "noise"), strict=True)
    return list(dict.fromkeys(f"{', '.join(map(str, run[:-1]))}, seed {run[-1]}" for run in runs))


def without_diverged(table: pd.DataFrame) -> pd.DataFrame:
    """The table without all rows of the runs that diverged."""
    return table[~_is_diverged(table)]


def _is_diverged(table: pd.DataFrame) -> pd.Series:
    """Whether each row is of a run that diverged, even at a later checkpoint."""
    if "diverged" not in table:
        return pd.Series(data=False, index=table.index)
    return table.groupby(run_keys(table), observed=True)["diverged"].transform("any").astype(bool)


def _claim(
    settings: ClaimSettings,
    tables: Tables,
    diverged: tuple[str, ...],
    rates: RatesOfNetworks,
    description: Description,
) -> Claim:
    absent = dict.fromkeys(settings.experiments[name] for name in description.tables if name not in tables)
    parts = {} if absent else description.parts(tables, settings)
    alone = {
        where: replace(part_of(where, one, settings.confidence), unit=one.unit or description.unit)
        for where, one in with_rates(parts, rates).items()
    }
    decides = {where: not isinstance(measured, Measured) or measured.decides for where, measured in parts.items()}
    deciding = corrected([part for where, part in alone.items() if decides[where]], settings.confidence)
    tested = deciding + tuple(replace(part, verdict="reported") for where, part in alone.items() if not decides[where])
    if description.is_reported(settings):
        tested = tuple(replace(part, verdict="reported") for part in tested)
    missing = None
    if absent:
        missing = f"needs the experiment {', '.join(absent)}, which this study does not make"
    elif not parts:
        missing = f"needs {description.needs}; this study has {_found(tables[description.tables[0]], diverged)}"
    texts = (description.id, description.statement, description.source, description.level, description.statistic)
    return Claim(
        *texts, tested, diverged, missing, short=description.short, unit=description.unit, figure=description.figure
    )


def _found(table: pd.DataFrame, diverged: tuple[str, ...]) -> str:
    """What a study has of what a claim may need, as text: noise levels, optimisers and networks that are left."""
    if table.empty:
        return "no such runs left that did not diverge" if diverged else "no such runs"
    noise = ", ".join(f"{level:g}" for level in sorted(table["noise"].unique())) if "noise" in table else "any"
    names = {
        plural: ", ".join(map(str, table[column].unique()))
        for column, plural in (("optimizer", "optimisers"), ("model", "networks"))
        if column in table
    }
    others = "".join(f", {plural} {found}" for plural, found in names.items())
    return f"noise {noise}{others}" + (" without the runs that diverged" if diverged else "")
