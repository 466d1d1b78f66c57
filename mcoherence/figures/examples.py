"""The easiest and the hardest training examples themselves, with the labels that they are trained on."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mcoherence.data.store import IMAGES_SCHEMA, read_class_names
from mcoherence.figures.panels import message_figure, network_title, new_figure
from mcoherence.figures.reading import Network, Tables, networks, of_network
from mcoherence.figures.style import TEXT_SIZE, WIDTH, FigureStyle, theme
from mcoherence.files.hdf5 import open_hdf5

COLUMNS, ROWS = 12, 2  # of each end
WRONG = "#B34A00"  # a changed label, in words too
_CELL = WIDTH / (COLUMNS + 0.8)  # inches, with the margin for the names of the rows


@theme()
def draw(tables: Tables, style: FigureStyle) -> Figure:
    """Two rows of the easiest examples and two of the hardest, from the extreme inwards, for every network.

    Above each stands its label; one that was changed is coloured, with the class of the image below it.
    Source: arXiv 2003.07422 calls learned examples easy; which images they are is shown here.

    Args:
        tables: with the tidy table difficulty, and the data sets' stores of images.
        style: the figures' shared settings; not read, for no optimiser and no mean over seeds is shown.
    """
    images = tables["images"]
    stores = dict(zip(images["dataset"], map(Path, images["path"]), strict=True))
    return show(pictures(tables["difficulty"], stores))


@dataclass(frozen=True)
class Picture:
    """One example: its image uint8 [C, H, W], the name of the label it is trained on, and of its own class."""

    image: NDArray[np.uint8]
    label: str
    original: str


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """The examples of one network by mean rank over the runs in which they carry the same label, easiest first.

    An image with another label is another example and has a row of its own. Ties are broken by position.

    Args:
        table: rows of the tidy table difficulty of one data set and model.

    Returns:
        Columns example, label, original, rank.
    """
    trained = table[~table["diverged"]]
    means = trained.groupby(["example", "label", "original"])["rank"].mean().reset_index()
    return means.sort_values("rank", kind="stable", ignore_index=True)


def pictures(
    table: pd.DataFrame, stores: Mapping[str, Path], count: int = COLUMNS * ROWS
) -> dict[Network, dict[str, list[Picture]]]:
    """The `count` easiest and hardest examples of every network: {network: {"easiest": [...], "hardest": [...]}}.

    Only the images that are shown are read.

    Args:
        table: the tidy table difficulty.
        stores: images.h5 by data set.
        count: how many of each; fewer where two lots would overlap.
    """
    chosen: dict[Network, dict[str, list[Picture]]] = {}
    for network in networks(table):
        order = ranked(of_network(table, network))
        each = min(count, len(order) // 2)
        store = stores[network[0]]
        chosen[network] = {
            "easiest": _read(store, order.head(each)),
            "hardest": _read(store, order.tail(each).iloc[::-1]),
        }
    return chosen


def _read(store: Path, rows: pd.DataFrame) -> list[Picture]:
    names = read_class_names(store)
    positions, back = np.unique(rows["example"].to_numpy(), return_inverse=True)
    with open_hdf5(store, IMAGES_SCHEMA) as file:
        images = file["train/images"][positions][back]  # HDF5 reads ascending positions only
    labels = zip(images, rows["label"], rows["original"], strict=True)
    return [Picture(image, names[label], names[original]) for image, label, original in labels]


@theme()
def show(chosen: Mapping[Network, Mapping[str, list[Picture]]]) -> Figure:
    """The figure of these pictures, in rows from the extreme inwards; says so where there are none.

    Args:
        chosen: what `pictures` returns.
    """
    lots = [(network, name, lot) for network, ends in chosen.items() for name, lot in ends.items() if lot]
    if not lots:
        return message_figure("This study ranked no examples by difficulty.")
    rows = [-(-len(lot) // COLUMNS) for _, _, lot in lots]
    figure = new_figure((sum(rows) * 1.38 + 0.3 * len(lots)) * _CELL)
    # A plain grid: a layout that makes room for every label would make the images smaller where names are long.
    figure.set_layout_engine("none")
    height = figure.get_figheight()
    top = 0.0
    for (network, name, lot), count in zip(lots, rows, strict=True):
        title = f"{network_title(network, list(chosen))}\n{name}" if len(chosen) > 1 else name
        middle = top + 0.15 * _CELL + count * 1.38 * _CELL / 2
        figure.text(0.024, 1 - middle / height, title, rotation=90, ha="center", va="center", fontsize=TEXT_SIZE + 1)
        for position, picture in enumerate(lot):
            row, column = divmod(position, COLUMNS)
            left = (0.6 + column) * _CELL / WIDTH
            bottom = 1 - (top + (row * 1.38 + 1.3) * _CELL) / height
            axes = figure.add_axes((left, bottom, 0.9 * _CELL / WIDTH, 0.9 * _CELL / height))
            _show(axes, picture)
        top += (count * 1.38 + 0.3) * _CELL
    return figure


def _show(axes: Axes, picture: Picture) -> None:
    gray = picture.image.shape[0] == 1
    axes.imshow(picture.image[0] if gray else np.moveaxis(picture.image, 0, -1), cmap="gray", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    changed = picture.label != picture.original
    label = textwrap.shorten(picture.label, 11, placeholder="…")
    text = f"{label} (is {textwrap.shorten(picture.original, 11, placeholder='…')})" if changed else label
    # Names of classes may be those of folders, in which a dollar sign begins no formula.
    title = axes.set_title(
        text, fontsize=TEXT_SIZE if len(text) < 9 else TEXT_SIZE - 2, pad=2, color=WRONG if changed else "black"
    )
    title.set_parse_math(False)
