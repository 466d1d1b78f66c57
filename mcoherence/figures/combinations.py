"""The names of panels, one a combination; where a study lacks many combinations, the panels that it has close up."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from numpy.typing import NDArray

from mcoherence.figures.lettering import broken
from mcoherence.figures.panels import (
    BELOW,
    LEAST_ROW,
    LETTER,
    NOT_RUN,
    column_titles,
    letters_across,
    most_ticks,
    row_title,
)
from mcoherence.figures.style import TEXT_SIZE, WIDTH

MOST_MISSING = 0.25  # of the combinations; with more of them missing the others close up
MOST_COLUMNS = 6  # with more the panels are too narrow for their tick labels, and close up as well
FEWEST_ACROSS, MOST_ACROSS = 3, 5  # panels side by side, where there are so many; narrower ones cannot be read
LINE = 0.14  # inches of a line of a name
ROW_HEIGHT = 1.9  # inches, as far as the figure stays no taller than wide


def name_combinations(
    grid: NDArray[Any], rows: Sequence[str], columns: Sequence[str], colors: Sequence[str] = (), stacked: int = 1
) -> None:
    """Name the rows at the right and the columns at the top; the last thing that a figure does with its panels.

    Where the study has no runs of more than a quarter of the combinations, or more columns than can be read side
    by side, the panels of those that it has close up in reading order, and each is named above itself.

    Args:
        grid: the axes, shape [rows x stacked, columns]; `panels.say_not_run` has marked those with nothing to show.
        rows: the title of each row of combinations.
        columns: the title of each column.
        colors: of the columns' titles; black by default.
        stacked: how many panels of a combination stand below each other.
    """
    combinations = grid.reshape(len(rows), stacked, len(columns)).swapaxes(1, 2)
    run = [
        (row, column)
        for row in range(len(rows))
        for column in range(len(columns))
        if any(axes.get_gid() != NOT_RUN for axes in combinations[row, column])
    ]
    full = len(run) >= (1 - MOST_MISSING) * len(rows) * len(columns)
    if not run or (full and len(columns) <= MOST_COLUMNS):
        for row, panels in enumerate(grid):
            row_title(panels[-1], rows[row // stacked])
        column_titles(grid, columns, colors)
    else:
        _close_up(grid, combinations, run, rows, columns, colors)


def panels_across(combinations: int, stacked: int) -> int:
    """How many combinations stand side by side once they have closed up: from three on, the fewest that fit a page.

    Where none fit, the fewest that give the fewest bands, so that the figure is no taller than it has to be.

    >>> panels_across(8, stacked=1), panels_across(10, stacked=2), panels_across(16, stacked=2)
    (3, 5, 4)

    Args:
        combinations: how many there are to show.
        stacked: how many panels of a combination stand below each other.
    """
    possible = range(min(combinations, FEWEST_ACROSS), min(combinations, MOST_ACROSS) + 1)
    bands = {across: -(-combinations // across) for across in possible}
    fit = [across for across in possible if bands[across] * stacked * LEAST_ROW + BELOW <= WIDTH]
    return fit[0] if fit else min(possible, key=lambda across: (bands[across], across))


def _close_up(
    grid: NDArray[Any],
    combinations: NDArray[Any],
    run: Sequence[tuple[int, int]],
    rows: Sequence[str],
    columns: Sequence[str],
    colors: Sequence[str],
) -> None:
    """Move the panels of the combinations `run`, (row, column) each, together, and take the others away."""
    figure, stacked = grid[0, 0].get_figure(), combinations.shape[2]
    across = panels_across(len(run), stacked)
    bands = -(-len(run) // across)
    names = {place: _wrapped(f"{columns[place[1]]}\n{rows[place[0]]}", across) for place in run}
    for_names = LINE * bands * max(name.count("\n") + 1 for name in names.values())
    height = max(LEAST_ROW, min(ROW_HEIGHT, (WIDTH - BELOW - for_names) / (bands * stacked)))
    figure.set_size_inches(WIDTH, bands * stacked * height + for_names + BELOW)
    places = figure.add_gridspec(bands * stacked, across)
    below = [axes.get_xlabel() for axes in grid[-1]]
    beside = [axes.get_ylabel() for axes in grid[:, 0]]
    for axes in grid.flat:
        axes.set(xlabel="", ylabel="")
    for position, (row, column) in enumerate(run):
        band, place = divmod(position, across)
        combinations[row, column][0].set_title(names[row, column], color=colors[column] if colors else "black")
        first_of_its_row = place == 0 or run[position - 1][0] != row  # rows share their vertical axis
        lowest = position + across >= len(run)
        for part, axes in enumerate(combinations[row, column]):
            axes.set_subplotspec(places[band * stacked + part, place])
            axes.tick_params(labelleft=first_of_its_row, labelbottom=lowest and part == stacked - 1)
            if place == 0:
                axes.set_ylabel(beside[row * stacked + part])
        if lowest:
            combinations[row, column][-1].set_xlabel(below[column])
        _thin_out(combinations[row, column][-1], across)
    _take_away(figure, combinations, run)


def _take_away(figure: Figure, combinations: NDArray[Any], run: Sequence[tuple[int, int]]) -> None:
    """Remove the panels of all combinations but those of `run`."""
    for row in range(combinations.shape[0]):
        for column in range(combinations.shape[1]):
            if (row, column) not in run:
                for axes in combinations[row, column]:
                    figure.delaxes(axes)


def _wrapped(name: str, across: int) -> str:
    """A name on as many lines as the width of a panel asks for, of so many side by side."""
    return broken(name, letters_across(across) - 2, LETTER, TEXT_SIZE + 1)


def _thin_out(axes: Axes, across: int) -> None:
    """Leave out tick labels of steps that a narrower panel has no room for, the first ones first; 0 stays."""
    locator = axes.xaxis.get_major_locator()
    if isinstance(locator, FixedLocator) and axes.get_xscale() == "symlog":
        zero, *others = [float(tick) for tick in locator()]
        stride = -(-len(others) // (most_ticks(across) - 1))
        axes.xaxis.set_major_locator(FixedLocator([zero, *sorted(others[::-1][::stride])]))
