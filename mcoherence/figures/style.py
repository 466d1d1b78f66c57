"""What all figures look like: width, type, colours, line styles, and the names that a reader sees.

Figures are made as `matplotlib.figure.Figure` on an Agg canvas and never through pyplot, so that nothing is
left open and no backend of the process is changed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import seaborn as sns

WIDTH = 7.0  # inches: the text width of an A4 or letter page
TYPEFACE = "DejaVu Sans"
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
    "adam": "Adam",
    "adamw": "AdamW",
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


_ABBREVIATIONS = {"sgd", "m3", "rm3", "ra3", "mlp", "cnn", "mnist"}


@dataclass(frozen=True)
class FigureStyle:
    """The settings that all figures share, key by key, as `study.colors.figure_settings` gives them.

    Args:
        optimizer_colors: colour of each optimiser, in the order in which figures show them.
        reference_optimizer: the one that a figure shows when it shows only one.
        confidence: coverage of the intervals over seeds.
        dpi: dots per inch of the PNG files.
        delay_factor: factor of SGD's time up to which another time counts as equal, of the section `claims`.
    """

    optimizer_colors: dict[str, str]
    reference_optimizer: str
    confidence: float = 0.95
    dpi: int = 200
    delay_factor: float = 1.25

    def color(self, optimizer: str) -> str:
        """The optimiser's colour; that every optimiser of a study has one is `study.colors`' business."""
        return self.optimizer_colors[optimizer]

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
        marker: matplotlib's marker at each point, none by default.
    """

    linestyle: tuple[float, tuple[float, ...]]
    width: float = 1.4
    opacity: float = 1.0
    marker: str = ""


_DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (4.5, 1.6),
    (1.2, 1.2),
    (5, 1.5, 1.2, 1.5),
    (9, 2),
    (5, 1.5, 1.2, 1.5, 1.2, 1.5),
    (2.6, 1.2),
    (1.2, 3.4),
    (9, 1.6, 2.6, 1.6),
    (4.5, 5),
    (2.6, 1.2, 1.2, 1.2),
    (9, 1.6, 1.2, 1.6, 1.2, 1.6),
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
    """The name that a reader sees: a known one, or the config's with spaces, and abbreviations in capitals.

    >>> readable("sgd_momentum"), readable("m3_15_groups"), readable("my_net")
    ('SGD, momentum', 'M3 15 groups', 'my net')
    """
    return NAMES.get(name) or " ".join(word.upper() if word in _ABBREVIATIONS else word for word in name.split("_"))


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
        "font.family": TYPEFACE,
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
