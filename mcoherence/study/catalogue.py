"""What a study makes: its experiments, and the tables, figures, results of runs and runs that follow from them.

Everything is worked out from the entries in `study.experiments`, so that rules, plan, checks and report agree.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from mcoherence.optim.methods import OTHER_SPELLINGS
from mcoherence.study import experiments
from mcoherence.study.experiment import Experiment, Figure, Table, no_entries, require_entries
from mcoherence.study.experiments import easy_hard
from mcoherence.study.runs import (
    STUDY_FILES,
    Config,
    Run,
    files_needed,
    results_folder,
    runs_of_grids,
    source_run,
    subset_file,
)

EXPERIMENTS: dict[str, Experiment] = {
    module.name: import_module(f"{experiments.__name__}.{module.name}").EXPERIMENT
    for module in iter_modules(experiments.__path__)
}
TABLES: dict[str, Table] = {name: table for one in EXPERIMENTS.values() for name, table in one.tables.items()}
EXPERIMENT_OF_TABLE = {table: name for name, one in EXPERIMENTS.items() for table in one.tables}


def made(config: Config) -> list[Experiment]:
    """The experiments of the study, in the order of the config."""
    return [EXPERIMENTS[name] for name in config["experiments"]]


def in_one_spelling(config: Config) -> dict[str, Any]:
    """The config with methods spelled as this project spells them, so that a spelling makes no other run."""
    entries = config.get("optimizers")
    if not isinstance(entries, Mapping):
        return dict(config)
    spelled = {
        name: {**entry, "method": OTHER_SPELLINGS[entry["method"]]}
        if isinstance(entry, Mapping) and str(entry.get("method")) in OTHER_SPELLINGS
        else entry
        for name, entry in entries.items()
    }
    return {**config, "optimizers": spelled}


def with_entries_made(config: Config) -> dict[str, Any]:
    """The config with the entries that its experiments make of others; those that are there already stay.

    Raises:
        UserError: an experiment that makes entries names an optimiser that is none.
    """
    optimizers, training = dict(config["optimizers"]), dict(config["training"])
    for experiment in made(config):
        for section in experiment.sections if experiment.makes is not no_entries else ():
            require_entries(
                f"{section}.optimizers", config.get(section, {}).get("optimizers", []), "optimizers", config
            )
        entries = experiment.makes(config)
        optimizers = {**entries.get("optimizers", {}), **optimizers}
        training["for_optimizers"] = {**entries.get("for_optimizers", {}), **training.get("for_optimizers", {})}
    return {**config, "optimizers": optimizers, "training": training}


def tables_of(config: Config) -> dict[str, Table]:
    """The tables of the study, by name."""
    return {name: table for experiment in made(config) for name, table in experiment.tables.items()}


def figures_of(config: Config) -> dict[str, Figure]:
    """The figures of the study, by name."""
    return {
        name: figure
        for experiment in made(config)
        for name, figure in experiment.figures.items()
        if figure.made(config)
    }


def tables_of_figure(config: Config, figure: Figure) -> list[str]:
    """The tables that a figure is drawn from in this study, those of them that it makes."""
    present = tables_of(config)
    return [name for name in figure.tables if name in present]


def images_of_figure(config: Config, figure: Figure) -> list[str]:
    """Paths of the stores of images that a figure shows: those of the data sets in its tables."""
    if not figure.images:
        return []
    runs = [run for name in figure.tables for run in runs_of_grids(TABLES[name].runs(config))]
    return list(dict.fromkeys(run.file(results_folder(config), "images") for run in runs))


def images_of_study(config: Config) -> list[str]:
    """Paths of the stores of images that the study's runs use, each once."""
    return list(dict.fromkeys(run.file(results_folder(config), "images") for run in all_runs(config)))


def files_of_table(config: Config, table: str) -> list[str]:
    """Paths of the files that a table is made from, each once: those of runs, then other tables."""
    needed = [(one.runs, one.files) for one in TABLES[table].needed(config)]
    return files_needed(results_folder(config), needed, TABLES[table].tables)


def reference_runs(config: Config, dataset: str, model: str) -> list[Run]:
    """The runs whose learning times say which examples of `dataset` are hard for `model`."""
    return runs_of_grids(easy_hard.reference_grids(config, datasets=[dataset], models=[model]))


def results_of(config: Config) -> dict[str, list[Run]]:
    """Result of a run (evaluation, coherence, ...) -> the runs of which the study makes it, each once.

    Those that a table reads, and what these need: the split into easy and hard examples takes the evaluation of its
    reference runs.
    """
    found: dict[str, dict[Run, None]] = {"evaluation": {}}
    for table in tables_of(config).values():
        for needed in table.needed(config):
            runs = runs_of_grids(needed.runs)
            for name in needed.files:
                if name not in STUDY_FILES:
                    found.setdefault(name, {}).update(dict.fromkeys(runs))
    for dataset, model in scored_networks(config):
        found["evaluation"].update(dict.fromkeys(reference_runs(config, dataset, model)))
    return {name: list(runs) for name, runs in found.items() if runs}


def scored_networks(config: Config) -> list[tuple[str, str]]:
    """The (data set, model)s whose examples are scored and split into easy and hard ones."""
    found: dict[tuple[str, str], None] = {}
    for table in tables_of(config).values():
        for needed in table.needed(config):
            scored = bool({"difficulty", "split"} & set(needed.files))
            for run in runs_of_grids(needed.runs):
                if scored or subset_file(run) == "split":
                    found[(run.dataset, run.model)] = None
    return list(found)


def halved_datasets(config: Config) -> list[str]:
    """The data sets whose training part is split into two halves."""
    return list(dict.fromkeys(run.dataset for run in all_runs(config) if subset_file(run) == "halves"))


def all_runs(config: Config) -> list[Run]:
    """Every run of the study, each once, those that others start from included."""
    return with_sources(config, (run for runs in results_of(config).values() for run in runs))


def optimizers_of_study(config: Config) -> list[str]:
    """The optimisers of the study's runs, in their order."""
    return list(dict.fromkeys(run.optimizer for run in all_runs(config)))


def with_sources(config: Config, runs: Iterable[Run]) -> list[Run]:
    """The runs, each once, and after them those that they start from."""
    found = list(dict.fromkeys(runs))
    known = set(found)
    for run in found:  # grows while it is read: a source may have a source
        source = source_run(config, run)
        if source is not None and source not in known:
            known.add(source)
            found.append(source)
    return found
