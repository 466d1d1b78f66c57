"""Every figure of the workflow has a module and a caption, both of the same tables, and a number of its own."""

import inspect
import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import SimpleNamespace

import pytest
from jinja2 import Environment, StrictUndefined

from mcoherence import figures
from mcoherence.study.catalogue import EXPERIMENTS
from mcoherence.tables.column_reference import header

ROOT = Path(__file__).parents[3]


FIGURES = {name: figure for experiment in EXPERIMENTS.values() for name, figure in experiment.figures.items()}


def test_every_module_that_draws_is_a_figure_of_the_workflow():
    modules = {
        found.name: import_module(f"{figures.__name__}.{found.name}") for found in iter_modules(figures.__path__)
    }
    draws = {name: module.draw for name, module in modules.items() if hasattr(module, "draw")}
    assert draws.keys() == FIGURES.keys()
    assert {tuple(inspect.signature(draw).parameters) for draw in draws.values()} == {("tables", "style")}


@pytest.mark.parametrize("figure", FIGURES)
def test_module_and_caption_name_the_tables_of_the_figure(figure):
    tables = {*FIGURES[figure].tables, *(["images"] if FIGURES[figure].images else [])}
    module = (ROOT / f"mcoherence/figures/{figure}.py").read_text()
    assert set(re.findall(r'\btables(?:\[|\.get\()"(\w+)"', module)) == tables
    caption = (ROOT / f"docs/captions/figures/{figure}.rst").read_text()
    assert set(re.findall(r"``tables/(\w+)\.csv``", caption)) == tables - {"images"}


def test_sections_and_figures_are_numbered_once_and_figures_after_their_section():
    sections = {figure.section for figure in FIGURES.values()}
    assert len({section.partition(".")[0] for section in sections}) == len(sections)
    titles = {name: figure.title for name, figure in FIGURES.items() if name != "summary"}  # has its section alone
    numbers = {figure: title.partition(" ")[0] for figure, title in titles.items()}
    assert len(set(numbers.values())) == len(numbers)
    for figure, number in numbers.items():
        assert re.fullmatch(rf"{FIGURES[figure].section.partition('.')[0]}\.\d", number), figure


def test_captions_of_coherence_say_by_what_batch_norm_normalised():
    """Heights by one choice are not comparable with those by another, so every such caption says the study's.

    Gradient confusion alone is of mini-batches by any choice.
    """
    shows = {name for name, figure in FIGURES.items() if any("batch_norm" in header(table) for table in figure.tables)}
    caption = (ROOT / "docs/captions/figures/confusion.rst").read_text()
    assert "batch norm, which normalises by the mini-batch" in caption
    assert {"summary", "coherence_by_step", "sweep", "label_errors", "confusion"} <= shows
    for name in sorted(shows - {"confusion"}):
        caption = (ROOT / f"docs/captions/figures/{name}.rst").read_text()
        said = (
            Environment(undefined=StrictUndefined)
            .from_string(caption)
            .render(snakemake=SimpleNamespace(config={"measurement": {"batch_norm": "sample"}}))
        )
        assert "Batch norm\nused the statistics of the measured training examples." in said, name
