"""What all figures share: size and type, colours, line styles, names, axes, legends, and how they are saved.

Figures are made as `matplotlib.figure.Figure` on an Agg canvas and never through pyplot, so that nothing is
left open and no backend of the process is changed.
"""

import math
import textwrap
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import is_color_like, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from mcoherence.errors import UserError
from mcoherence.storage import atomic_path

WIDTH = 7.0  # inches: the text width of an A4 or letter page
TEXT_SIZE = 8  # points at final size
BAND_OPACITY = 0.14
NEUTRAL = "#404040"

NAMES = {
    "sgd": "SGD",
    "sgd_momentum": "SGD, momentum",
    "m3": "M3",
    "rm3": "RM3",
    "ra3": "RA3",
    "m3_successive": "M3, successive mini-batches",
    "winsorized": "winsorised SGD",
    "mlp": "MLP",
    "cnn": "CNN",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "vgg13_bn": "VGG-13 (BN)",
    "inception_v3": "Inception-v3",
    "efficientnet_b0": "EfficientNet-B0",
    "alexnet": "AlexNet",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "imagenet": "ImageNet",
    "clean": "clean labels",
    "half_random": "half random labels",
    "all_random": "all random labels",
    "heldout": "held-out",
}


@dataclass(frozen=True)
class FigureStyle:
    """The settings that all figures share.

    Args:
        optimizer_colors: colour of each optimiser, in the order in which figures show them.
        reference_optimizer: the one that a figure shows when it shows only one.
        confidence: coverage of the intervals over seeds.
        dpi: dots per inch of the PNG files.
    """

    optimizer_colors: dict[str, str]
    reference_optimizer: str
    confidence: float = 0.95
    dpi: int = 200

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "FigureStyle":
        """The style that a rule's settings describe, with keys of the same names as the fields.

        Raises:
            UserError: a key is unknown or missing, a colour is not one, or the confidence is not in (0, 1).
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(settings) - known):
            raise UserError(f"figures.{unknown[0]}: unknown setting; expected one of {', '.join(sorted(known))}")
        if missing := sorted({"optimizer_colors", "reference_optimizer"} - set(settings)):
            raise UserError(f"figures.{missing[0]}: missing; add it to the settings of the figures")
        style = cls(**settings)
        for optimizer, color in style.optimizer_colors.items():
            if not is_color_like(color):
                key = f"figures.optimizer_colors.{optimizer}"
                raise UserError(f"{key}: found {color!r}; expected a colour such as '#0072b2'")
        if not 0 < style.confidence < 1:
            raise UserError(f"figures.confidence: found {style.confidence}; expected a number between 0 and 1")
        return style

    def color(self, optimizer: str) -> str:
        """The optimiser's colour: the settings' one, or for an unlisted optimiser one that its name decides.

        By name, not by position, so that all figures agree whatever optimisers their tables hold.
        """
        if optimizer in self.optimizer_colors:
            return self.optimizer_colors[optimizer]
        taken = {to_hex(color) for color in self.optimizer_colors.values()}
        palette = [to_hex(color) for color in sns.color_palette("colorblind")]
        free = [color for color in palette if color not in taken] or palette
        return free[zlib.crc32(optimizer.encode()) % len(free)]

    @property
    def percent(self) -> str:
        """The confidence as text, such as "95%"."""
        return f"{100 * self.confidence:g}%"


@dataclass(frozen=True)
class LineLook:
    """How a line is drawn apart from its colour.

    Args:
        linestyle: matplotlib's offset and dashes, in units of the line's width; (0, ()) is solid.
        width: in points.
        opacity: 1 is opaque.
    """

    linestyle: tuple[float, tuple[float, ...]]
    width: float = 1.4
    opacity: float = 1.0


_DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (4.5, 1.6),
    (1.2, 1.2),
    (5, 1.5, 1.2, 1.5),
    (9, 2),
    (5, 1.5, 1.2, 1.5, 1.2, 1.5),
)


def looks(names: Sequence[str]) -> dict[str, LineLook]:
    """A look for each name, by position: dashes first, and less opacity later as a second cue.

    Args:
        names: all label sets of the study from clean to random, so that each looks the same in all figures.
    """
    fade = 0.35 / max(len(names) - 1, 1)
    return {
        name: LineLook((0, _DASHES[position % len(_DASHES)]), opacity=1 - fade * position)
        for position, name in enumerate(names)
    }


def readable(name: str) -> str:
    """The name that a reader sees: a known abbreviation or the config's name with spaces for underscores."""
    return NAMES.get(name, name.replace("_", " "))


def network_title(network: tuple[str, str], all_networks: Sequence[tuple[str, str]]) -> str:
    """A model's readable name, with its data set where the figure shows more than one."""
    dataset, model = network
    several = len({name for name, _ in all_networks}) > 1
    return f"{readable(dataset)}, {readable(model)}" if several else readable(model)


_TEXT_KEYS = (
    "font.size",
    "axes.labelsize",
    "xtick.labelsize",
    "ytick.labelsize",
    "legend.fontsize",
    "legend.title_fontsize",
)


@contextmanager
def theme() -> Iterator[None]:
    """The look of axes and text while a figure is made or saved; also a decorator, @theme().

    The typeface is the one that comes with matplotlib, so that figures are the same on every machine.
    """
    own: dict[Any, Any] = {
        **dict.fromkeys(_TEXT_KEYS, TEXT_SIZE),
        "font.family": "DejaVu Sans",
        "axes.titlesize": TEXT_SIZE + 1,
        "figure.titlesize": TEXT_SIZE + 1,
        "figure.labelsize": TEXT_SIZE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.7,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "xtick.minor.size": 1.5,
        "ytick.minor.size": 1.5,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e6e6e6",
        "grid.linewidth": 0.5,
        "pdf.fonttype": 42,  # text stays text in the PDF
        "savefig.bbox": "standard",
    }
    with mpl.rc_context({**sns.plotting_context("paper"), **sns.axes_style("ticks"), **own}):
        yield


def new_figure(height: float) -> Figure:
    """An empty figure of the page's text width and the given height in inches, on an Agg canvas."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panel_grid(
    rows: int, columns: int, row_height: float, sharey: bool | str = "row", sharex: bool | str = True
) -> tuple[Figure, NDArray[Any]]:
    """A figure with rows x columns panels.

    Returns:
        The figure and its axes, an array of shape [rows, columns].
    """
    figure = new_figure(rows * row_height + 0.8)  # the rest is for the axis label and the legend
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)  # type: ignore[arg-type]
    return figure, axes


def message_figure(message: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = new_figure(1.2)
    figure.text(0.5, 0.5, message, ha="center", va="center", fontsize=TEXT_SIZE + 1, color=NEUTRAL, wrap=True)
    return figure


def say_not_run(axes: Axes, reason: str = "no such runs") -> None:
    """Mark a panel that has nothing to show, such as a combination that the study has no runs of."""
    axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", color=NEUTRAL)


def row_title(axes: Axes, title: str) -> None:
    """Name a row of panels at the right edge of its last one."""
    axes.annotate(
        title,
        xy=(1, 0.5),
        xytext=(5, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        rotation=270,
        ha="left",
        va="center",
        multialignment="center",
        fontsize=TEXT_SIZE + 1,
        annotation_clip=False,
    )


def decade_label(value: float, _: object = None) -> str:
    """A tick label: plain from 0.001 to 1000, a power of ten beyond."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:g}".replace("-", "−")
    exponent = math.floor(math.log10(abs(value)))
    factor = value / 10**exponent
    return rf"$10^{{{exponent}}}$" if math.isclose(factor, 1) else rf"${factor:g}\times10^{{{exponent}}}$"


def column_title(axes: Axes, title: str, columns: int, color: str = "black") -> None:
    """Name a column of panels at the top of its first one, on as many lines as the panel's width asks for."""
    letters = int(WIDTH / columns / 0.085)  # inches per bold letter
    axes.set_title(textwrap.fill(title, letters), color=color, fontweight="bold")


def step_axis(axes: Axes, last_step: float, columns: int) -> None:
    """Give the horizontal axis steps from 0 on: linear up to step 1, logarithmic from there.

    Args:
        axes: whose axis.
        last_step: the largest step of any panel that shares the axis.
        columns: how many panels share the page's width, which limits the labels.
    """
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    exponents = range(math.floor(math.log10(max(last_step, 1))) + 1)
    most_ticks = max(int((WIDTH - 0.9) / columns / 0.38), 3)  # inches for the margins, for a label
    stride = math.ceil(len(exponents) / (most_ticks - 1))
    # From the largest down, so that thinning keeps the end of training and drops step 1 first.
    ticks = [0.0, *sorted(10.0**exponent for exponent in exponents[::-1][::stride])]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(decade_label))
    axes.set_xlim(-0.15, max(last_step, 1) * 1.25)


def log_axis(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers; call it after drawing.

    An axis of less than two decades gets labels at 1, 2 and 5, because its decades alone would be too few.
    """
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    few_decades = low > 0 and high / low < 100
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few_decades else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(decade_label))
    axes.yaxis.set_minor_locator(LogLocator(subs=tuple(np.arange(2.0, 10.0))))
    axes.yaxis.set_minor_formatter(NullFormatter())


def orthogonal_limit(axes: Axes) -> None:
    """Draw the guide at m-coherence 1, the value for pairwise orthogonal gradients."""
    axes.axhline(1, color=NEUTRAL, linewidth=0.7, zorder=1, label="orthogonal limit")


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
    count = str(most) if fewest == most else f"{fewest} to {most}"
    mean = "geometric mean" if geometric else "mean"
    return Patch(facecolor=NEUTRAL, alpha=BAND_OPACITY, label=f"{style.percent} interval of the {mean}, {count} seeds")


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


def text_handle(text: str) -> Artist:
    """A legend's entry that is a remark and has no symbol."""
    return Patch(facecolor="none", edgecolor="none", label=text)


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """One legend under the panels, in as few rows as the page's width allows."""
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=_legend_columns([len(str(handle.get_label())) for handle in handles]),
        frameon=False,
        handlelength=2.8,
        columnspacing=1.6,
    )


def _legend_columns(letters: Sequence[int]) -> int:
    """The most columns of a legend, filled downwards as matplotlib does, that fit into the page's width."""
    for rows in range(1, len(letters) + 1):
        columns = [letters[start : start + rows] for start in range(0, len(letters), rows)]
        if sum(max(column) * 0.062 + 0.55 for column in columns) <= WIDTH:  # inches per letter, per line sample
            return len(columns)
    return 1


def save_figure(figure: Figure, png: Path, pdf: Path, dpi: int) -> None:
    """Write a figure as PNG and PDF, atomically; equal figures give equal bytes.

    Args:
        figure: what to save.
        png: where to, for the screen and the report.
        pdf: where to, for print.
        dpi: dots per inch of the PNG.
    """
    with theme():  # ticks are made while drawing and take their sizes from the settings in force then
        # Place the panels once: each placing starts from the last and would differ from it by rounding.
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # "none" would leave a placeholder, for which every saving draws twice
        with atomic_path(png) as temporary:
            figure.savefig(temporary, format="png", dpi=dpi)
        with atomic_path(pdf) as temporary:
            figure.savefig(temporary, format="pdf", metadata={"CreationDate": None})
