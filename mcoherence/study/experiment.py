"""What an experiment of a study is: one entry, from which rules, checks, plan and report derive everything about it.

The entries are the modules of `study.experiments`; `study.catalogue` reads them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcoherence.errors import UserError, meant
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


def no_entries(_config: Config) -> Mapping[str, Mapping[str, Any]]:
    """The entries that an experiment makes, where there are none."""
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

    sections: of the config that describe its runs: that of its own name, or that of an experiment whose runs it takes.
    tables, figures: by name.
    schema: the JSON schema of a section of its own name, None where it has none.
    needs: experiments that have to be made beside it.
    check: raises UserError for what neither the schema nor `entries` can say.
    makes: entries that the config gets because of the experiment, of `optimizers` and of `training.for_optimizers`.
    every_checkpoint: why its runs have to be evaluated at every checkpoint; "" where some do.
    every_example: why they have to be evaluated on all training examples; "" where a sample does.
    """

    sections: tuple[str, ...]
    tables: Mapping[str, Table]
    figures: Mapping[str, Figure]
    schema: Mapping[str, Any] | None = None
    needs: tuple[str, ...] = ()
    check: Callable[[Config], None] = lambda config: None
    makes: Callable[[Config], Mapping[str, Mapping[str, Any]]] = no_entries
    every_checkpoint: str = ""
    every_example: str = ""

    @property
    def entries(self) -> dict[str, str]:
        """Key of the experiment's own section -> the section of the config whose entries it names."""
        properties = (self.schema or {}).get("properties", {})
        named = [key for key, schema in properties.items() if schema.get("$ref") in (NAMES["$ref"], NAME, ONE_OR_MORE)]
        return {key: "optimizers" if key.endswith("optimizer") else key for key in named}


# Sections of the report, in its order. Claims are the first, the study itself is the last; see rules/.
SUMMARY = "0. Summary"
COHERENCE = "2. Coherence along training"
PRISTINE_AND_CORRUPT = "3. Pristine and corrupt examples"
TRAINING = "4. Optimisers, memorisation and generalisation"
DIFFICULTY = "5. Easy and hard examples"
SWEEPS = "6. Exploratory sweeps"

# Parts of the schemas of sections. A key that names entries is called like their section, or `optimizer`.
NAMES = {"$ref": "#/$defs/names"}
NAME, ONE_OR_MORE = "#/$defs/name", "#/$defs/name_or_names"
SEEDS = {"$ref": "#/$defs/seeds"}


def one_name(description: str) -> dict[str, Any]:
    """The schema of a key that holds the name of one entry."""
    return {"$ref": NAME, "description": description}


def one_or_more_names(description: str) -> dict[str, Any]:
    """The schema of a key that holds the name of one entry, or a list of names."""
    return {"$ref": ONE_OR_MORE, "description": description}


def section_schema(description: str, **properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an experiment's section. Keys without a default are required; without such it can be left out."""
    required = [key for key, schema in properties.items() if "default" not in schema]
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False}
    if required:
        schema["required"] = required
    else:
        schema["default"] = {}
    return schema | {"description": description, "properties": properties}


def require_entries(key: str, found: Iterable[str], section: str, config: Config) -> None:
    """Check that names are those of entries.

    Args:
        key: of the config, where they stand.
        found: the names.
        section: of the config, whose entries they should name.
        config: of the study.

    Raises:
        UserError: one of them is not.
    """
    for name in found:
        if name not in config[section]:
            raise UserError(
                f"{key}: found {name!r}{meant(name, config[section])}, expected an entry of {section} "
                f"({', '.join(config[section])})"
            )
