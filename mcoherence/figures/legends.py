"""The legend under the panels and its entries."""

from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mcoherence.figures.intervals import FEWEST_SINGLE, FEWEST_WITH_BAND, SINGLE_SEED
from mcoherence.figures.lettering import broken, inches
from mcoherence.figures.style import BAND_OPACITY, NEUTRAL, WIDTH, FigureStyle, LineLook, readable

_SINGLE = "single seeds"
ROWS_WITH_ROOM = 2  # of a legend, for which `panels.BELOW` leaves room
ROW = 0.16  # inches of a further one
SAMPLE = 0.55  # inches of the sample of a line beside its name
LETTER = 0.07  # inches
LONGEST = 6.0  # inches of an entry on one line


def look_handles(names_to_looks: Mapping[str, LineLook]) -> list[Artist]:
    """The legend's entries of line styles, neutral because every optimiser's colour carries them."""
    return [
        Line2D(
            [],
            [],
            color=NEUTRAL,
            linestyle=look.linestyle,
            linewidth=look.width,
            alpha=look.opacity,
            label=readable(name),
        )
        for name, look in names_to_looks.items()
    ]


def band_handle(style: FigureStyle, seeds: Sequence[int], geometric: bool = False) -> Artist:
    """The legend's entry of the bands: what they are, and over how many seeds.

    Args:
        style: for the confidence.
        seeds: how many seeds each drawn mean is of.
        geometric: the means are geometric.
    """
    fewest, most = min(seeds, default=0), max(seeds, default=0)
    if most < 2:
        return text_handle("one seed, no interval")
    if most < FEWEST_WITH_BAND:
        return Line2D([], [], color=NEUTRAL, linewidth=0.5, alpha=0.6, label=f"{_SINGLE}, {most}")
    count = str(most) if fewest == most else f"{fewest} to {most}"
    mean = "geometric mean" if geometric else "mean"
    return Patch(facecolor=NEUTRAL, alpha=BAND_OPACITY, label=f"{style.percent} interval of the {mean}, {count} seeds")


def bars_handle(style: FigureStyle, seeds: Sequence[int]) -> Artist:
    """The legend's entry of bars, which show the interval with any number of seeds: what they are, and over how many.

    Args:
        style: for the confidence.
        seeds: how many seeds each drawn mean is of.
    """
    fewest, most = min(seeds, default=0), max(seeds, default=0)
    if most < 2:
        return text_handle("one seed, no interval")
    count = str(most) if fewest == most else f"{fewest} to {most}"
    label = f"{style.percent} interval of the mean, {count} seeds"
    return Line2D([], [], color=NEUTRAL, linestyle="", marker="|", markersize=9, label=label)


def coherence_handles(
    style: FigureStyle, names_to_looks: Mapping[str, LineLook], seeds: Sequence[int], not_shown: int
) -> list[Artist]:
    """The legend's entries of a figure of m-coherence on a logarithmic axis.

    Args:
        style: for the confidence.
        names_to_looks: the label sets drawn.
        seeds: how many seeds each drawn mean is of.
        not_shown: how many values were not positive, so that a logarithmic axis cannot show them.
    """
    limit = Line2D([], [], color=NEUTRAL, linewidth=0.7, label="orthogonal limit (1)")
    handles = [*look_handles(names_to_looks), limit, band_handle(style, seeds, geometric=True)]
    if not_shown:
        handles.append(text_handle(f"not shown: {not_shown} value(s) that are not positive"))
    return handles


def null_handle(style: FigureStyle, seeds: Sequence[int]) -> Artist:
    """The legend's entry of what redrawn labels give, of which there are so many `seeds` at each point."""
    if max(seeds, default=0) < FEWEST_SINGLE:
        return Line2D([], [], color=NEUTRAL, linewidth=0.6, label="labels redrawn")
    label = f"labels redrawn: {style.percent} of single runs"
    return Patch(facecolor=NEUTRAL, alpha=BAND_OPACITY, edgecolor=NEUTRAL, linewidth=0.6, label=label)


def lost_handles(lost: int, shown_until: bool = True) -> list[Artist]:
    """The legend's remark that runs diverged, so that means are of fewer seeds; none where none did.

    Args:
        lost: how many did.
        shown_until: they are drawn up to where they did; else left out.
    """
    if not lost:
        return []
    return [text_handle(f"{lost} run(s) diverged, drawn until then" if shown_until
                        else f"left out: {lost} run(s) that diverged")]  # fmt: skip


def text_handle(text: str) -> Artist:
    """A legend's entry that is a remark and has no symbol."""
    return Patch(facecolor="none", edgecolor="none", label=text)


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """One legend under the panels, in as few rows as the page's width allows; the figure grows by those beyond two."""
    handles = [*handles, *_single_seeds(figure, handles)]
    for handle in handles:
        handle.set_label(broken(str(handle.get_label()), int(LONGEST / LETTER), LETTER))
    labels = [str(handle.get_label()) for handle in handles]
    columns = _legend_columns([max(map(inches, label.split("\n"))) for label in labels])
    further = max(-(-len(handles) // columns) - ROWS_WITH_ROOM, 0)
    figure.set_figheight(figure.get_figheight() + further * ROW)
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        handlelength=2.8,
        columnspacing=1.6,
    )


def _single_seeds(figure: Figure, handles: Sequence[Artist]) -> list[Artist]:
    """The entry of thin lines beside bands: those of means of too few seeds, where others have enough."""
    drawn = any(str(line.get_label()).startswith(SINGLE_SEED) for axes in figure.axes for line in axes.lines)
    if not drawn or any(str(handle.get_label()).startswith(_SINGLE) for handle in handles):
        return []
    label = f"{_SINGLE} where fewer than {FEWEST_WITH_BAND}"
    return [Line2D([], [], color=NEUTRAL, linewidth=0.5, alpha=0.6, label=label)]


def _legend_columns(widths: Sequence[float]) -> int:
    """The most columns of a legend, filled downwards as matplotlib does, that fit into the page's width."""
    for rows in range(1, len(widths) + 1):
        columns = [widths[start : start + rows] for start in range(0, len(widths), rows)]
        if sum(1.04 * max(column) + SAMPLE for column in columns) <= WIDTH:  # screens' letters are a little wider
            return len(columns)
    return 1
