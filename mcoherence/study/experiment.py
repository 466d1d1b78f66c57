"""What an experiment of a study is: one entry, from which rules, checks, plan and report derive everything about it.

The entries are the modules of `study.experiments`; `study.catalogue` reads them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcoherence.study.runs import Config, Grid

Grids = Callable[[Config], Sequence[Grid]]
Own = Callable[[Config], Mapping[str, Any]]


@dataclass(frozen=True)
class Needed:
    """Files that a table is made from.

    runs: the grids of the runs that they belong to.
    files: names that `Run.file` knows: results of the runs (evaluation, coherence, ...), labels, images, split, ...
    """

    runs: Sequence[Grid]
    files: tuple[str, ...]


def nothing_more(_config: Config) -> Mapping[str, Any]:
    """What a table depends on besides its runs, where that is nothing."""
    return {}


def no_files(_config: Config) -> Sequence[Needed]:
    """The files that a table needs besides those of its rows, where there are none."""
    return ()


@dataclass(frozen=True)
class Table:
    """A tidy table: the module of `mcoherence.tables` of its name makes it.

    runs: the runs that it has rows of, in their order.
    files: what it reads of each of them, by names that `Run.file` knows. A result named here is made for these runs.
    further: what it reads of other runs.
    tables: other tables of the study that it is made from, in place of files of runs or beside them.
    own: what it depends on besides, the keyword arguments of its function.
    """

    runs: Grids = field(default=lambda config: ())
    files: tuple[str, ...] | Callable[[Config], tuple[str, ...]] = ()
    further: Callable[[Config], Sequence[Needed]] = no_files
    tables: tuple[str, ...] = ()
    own: Own = nothing_more

    def needed(self, config: Config) -> list[Needed]:
        """All files of runs that the table is made from."""
        files = self.files(config) if callable(self.files) else self.files
        return [Needed(self.runs(config), files), *self.further(config)]


@dataclass(frozen=True)
class Figure:
    """A figure: the module of `mcoherence.figures` of its name draws it.

    tables: those that it is drawn from; one that the study does not make is left out.
    section: of the report; the report orders sections and figures by their names, so they are numbered.
    title: in that section.
    images: whether it shows images of the data sets in its tables, and so reads their stores.
    made: whether a study that makes the experiment has it.
    """

    tables: tuple[str, ...]
    section: str
    title: str
    images: bool = False
    made: Callable[[Config], bool] = lambda config: True


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    section: of the config that describes its runs; its own name, or that of an experiment whose runs it takes.
    schema: the JSON schema of a section of its own, None where it has none.
    needs: experiments that have to be made beside it.
    names: key of the section -> the section of the config whose entries it names.
    tables, figures: by name.
    check: raises UserError for what neither a JSON schema nor `names` can say.
    """

    section: str
    tables: Mapping[str, Table]
    figures: Mapping[str, Figure]
    schema: Mapping[str, Any] | None = None
    needs: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Config], None] = lambda config: None


# Sections of the report, in its order. Claims are the first, the study itself is the last; see rules/.
SUMMARY = "0. Summary"
COHERENCE = "2. Coherence along training"
GROUPS = "3. Pristine and corrupt examples"
TRAINING = "4. Optimisers, memorisation and generalisation"
DIFFICULTY = "5. Easy and hard examples"
SWEEPS = "6. Exploratory sweeps"

# Parts of the schemas of sections.
NAMES = {"$ref": "#/$defs/names"}
SEEDS = {"$ref": "#/$defs/seeds"}


def name(description: str) -> dict[str, Any]:
    """The schema of a key that holds the name of one entry."""
    return {"$ref": "#/$defs/name", "description": description}


def section(description: str, required: Sequence[str], **properties: Any) -> dict[str, Any]:
    """The schema of an experiment's section; a section without required keys may be left out."""
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    else:
        schema["default"] = {}
    return schema | {"description": description, "properties": properties}
