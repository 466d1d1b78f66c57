"""Every figure of the workflow has a module and a caption, both of the same tables, and a number of its own."""

import inspect
import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

from mcoherence import figures

ROOT = Path(__file__).parents[3]


def figures_of_the_workflow() -> dict[str, tuple[list[str], str, str]]:
    """Figure -> its tables, section and title, as rules/figures.smk names them before it looks at a config."""
    names: dict = {}
    exec((ROOT / "rules/figures.smk").read_text().partition("\nFIGURES = ")[0], names)
    return {name: figure for group in names["FIGURES_OF_EXPERIMENT"].values() for name, figure in group.items()}


FIGURES = figures_of_the_workflow()


def test_every_module_that_draws_is_a_figure_of_the_workflow():
    modules = {
        found.name: import_module(f"{figures.__name__}.{found.name}") for found in iter_modules(figures.__path__)
    }
    draws = {name: module.draw for name, module in modules.items() if hasattr(module, "draw")}
    assert draws.keys() == FIGURES.keys()
    assert {tuple(inspect.signature(draw).parameters) for draw in draws.values()} == {("tables", "style")}


@pytest.mark.parametrize("figure", FIGURES)
def test_module_and_caption_name_the_tables_of_the_figure(figure):
    tables = set(FIGURES[figure][0])
    module = (ROOT / f"mcoherence/figures/{figure}.py").read_text()
    assert set(re.findall(r'\btables(?:\[|\.get\()"(\w+)"', module)) == tables
    caption = (ROOT / f"docs/captions/figures/{figure}.rst").read_text()
    assert set(re.findall(r"``tables/(\w+)\.csv``", caption)) == tables - {"images"}


def test_sections_and_figures_are_numbered_once_and_figures_after_their_section():
    sections = {section for _, section, _ in FIGURES.values()}
    assert len({section.partition(".")[0] for section in sections}) == len(sections)
    titles = {
        figure: title for figure, (_, _, title) in FIGURES.items() if figure != "summary"
    }  # has its section alone
    numbers = {figure: title.partition(" ")[0] for figure, title in titles.items()}
    assert len(set(numbers.values())) == len(numbers)
    for figure, number in numbers.items():
        assert re.fullmatch(rf"{FIGURES[figure][1].partition('.')[0]}\.\d", number), figure
