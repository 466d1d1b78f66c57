"""Which modules make each file of a study, and the digest of their code: the param `code` of every rule.

A job's command is a module that imports most of what it runs. What it imports by name, through `importlib`, is named
here besides: the source of the images, the optimiser and the network of a run, the module of a table or a figure.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from mcoherence.data.source_modules import module_of_source
from mcoherence.models.architectures import module_of
from mcoherence.study.catalogue import figures_of, tables_of
from mcoherence.study.code_digest import SourceTree, digest_of_modules
from mcoherence.study.cutting import cut_of
from mcoherence.study.results import RESULTS, result
from mcoherence.study.runs import Config, Run

OPERATIONAL = True  # no number depends on it; docs/reruns.md

Modules = tuple[str, ...]
"""Modules whose code a job runs, with all that they import: its command first. "package.*" stands for a folder's."""


def preparation(config: Config, dataset: str) -> Modules:
    """What prepares the images of a data set."""
    return (_command("prepare_dataset"), module_of_source(config["datasets"][dataset]["source"]))


def checking(config: Config, model: str) -> Modules:
    """What builds a network that is checked before training; what checks it decides no number."""
    return (module_of(config["models"][model]["architecture"]),)


def corruption() -> Modules:
    """What makes labels."""
    return (_command("corrupt_labels"),)


def training(config: Config, run: Run) -> Modules:
    """What trains a run."""
    method = config["optimizers"][run.optimizer]["method"]
    return (_command("train"), f"mcoherence.optim.{method}", _network(config, run))


def part(config: Config, run: Run, name: str) -> Modules:
    """What makes a part of a result of a run, or all of it where it is made at once."""
    return (_command(result(name).command), _network(config, run))


def block(config: Config, run: Run, name: str) -> Modules:
    """What makes a block of a measurement of its shards, and the shards."""
    return (*part(config, run, name), _command("add_shards"))


def whole_result(config: Config, run: Run, name: str) -> Modules:
    """What makes a result of a run: where that is done in parts, what puts them together as well."""
    cut = cut_of(config, run, name)
    if cut.whole:
        return part(config, run, name)
    if not cut.summed:
        return (*part(config, run, name), _command("join_evaluation"))
    return (*block(config, run, name), _command("join_measurement"))


def scoring() -> Modules:
    """What scores the difficulty of examples."""
    return (_command("score_difficulty"),)


def splitting() -> Modules:
    """What splits them into easy and hard ones."""
    return (_command("split_easy_hard"),)


def halving() -> Modules:
    """What splits them into two halves."""
    return (_command("split_halves"),)


def tabulation(name: str) -> Modules:
    """What makes a table."""
    return (_command("tabulate"), f"mcoherence.tables.{name}")


def drawing(name: str) -> Modules:
    """What draws a figure."""
    return (_command("draw"), f"mcoherence.figures.{name}")


def claim_check() -> Modules:
    """What checks the claims, which it finds in their folder."""
    return (_command("check_claims"), "mcoherence.claims.*")


def description() -> Modules:
    """What describes the study."""
    return (_command("describe_study"),)


def page() -> Modules:
    """What writes the page that tells the study."""
    return (_command("write_page"),)


def reporting() -> Modules:
    """What checks everything once more before the report is written."""
    return (_command("report"),)


def of_study(config: Config) -> Modules:
    """What may run in any job of a study."""
    commands = (
        *("prepare_dataset", "check_data", "corrupt_labels", "check_network", "train"),
        *(kind.command for kind in RESULTS.values()),
        *("add_shards", "join_measurement", "join_evaluation", "score_difficulty", "split_easy_hard", "split_halves"),
        *("tabulate", "draw", "describe_study", "write_page", "report"),
    )
    return (
        *map(_command, commands),
        *(module_of_source(entry["source"]) for entry in config["datasets"].values()),
        *(f"mcoherence.optim.{entry['method']}" for entry in config["optimizers"].values()),
        *(module_of(entry["architecture"]) for entry in config["models"].values()),
        *(tabulation(name)[1] for name in tables_of(config)),
        *(drawing(name)[1] for name in figures_of(config)),
        *claim_check(),
    )


def _command(name: str) -> str:
    return f"workflow_scripts.{name}"


def _network(config: Config, run: Run) -> str:
    return module_of(config["models"][run.model]["architecture"])


def unnoted(_digest: str, _modules: Mapping[str, str]) -> None:
    """Keep no note of what a digest stands for."""


def code_at(root: Path, note: Callable[[str, Mapping[str, str]], None] = unnoted) -> Callable[[Modules], str]:
    """A function from modules to the digest of their code, one after the other, as it is below `root` when first asked.

    Args:
        root: folder that holds the packages.
        note: is told each digest, and the modules that it stands for with their own digests.
    """
    tree = SourceTree(root)

    @cache
    def digest(module: str) -> str:
        package = module.removesuffix(".*")
        modules = tree.module_digests(module) if package == module else tree.package_digests(package)
        found = digest_of_modules(modules)
        note(found, modules)
        return found

    return lambda modules: "".join(map(digest, modules))
