"""Image sources by name: where the pixels and targets of a data set come from.

Every source is a module of its own with one function, `open_source(settings, data_folder, download) -> Source`, that
`source_modules` names.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcoherence.data.source_modules import SOURCES, module_of_source
from mcoherence.errors import UserError, meant

Items = Sequence[Any] | NDArray[np.uint8]
# Images uint8 [n, C, H, W] of n items, and a line about each that could not be decoded (its image is then undefined).
Decoded = tuple[NDArray[np.uint8], list[str]]


@dataclass(frozen=True)
class SourcePart:
    """The training or the test part of a source: N images, whole in memory or still to be decoded.

    items: the images uint8 [N, C, H, W]; or N things that identify an image each, slices of which `decode` takes.
    targets: int64 [N].
    decode: makes the images of a slice of the items; runs in other processes. None where items are the images.
    """

    items: Items
    targets: NDArray[np.int64]
    decode: Callable[[Any], Decoded] | None = None


@dataclass(frozen=True)
class Source:
    """A data set, opened: its two parts, the shape (C, H, W) of an image, and the names of the classes.

    attributes: what else its images depend on, such as the version of the library that decodes them.
    """

    train: SourcePart
    test: SourcePart
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


def open_source(settings: Mapping[str, Any], data_folder: str | os.PathLike[str], download: bool) -> Source:
    """The data set that `settings` describe, an entry of the config's `datasets`.

    Args:
        settings: the entry with its defaults; "source" is a key of SOURCES, or "module:function" (`own_source`).
        data_folder: folder that holds downloaded sets, and below which a relative `root` is looked for.
        download: whether a set that is not there may be downloaded.

    Raises:
        UserError: the source is none, the data are absent or damaged, or the settings ask for what they do not have.
    """
    source = settings.get("source")
    if source not in SOURCES and ":" not in str(source):
        near = meant(str(source), SOURCES)
        raise UserError(
            f"source: found {source!r}{near}, expected one of {', '.join(SOURCES)}, or module:function; choose one"
        )
    opener = import_module(module_of_source(str(source)))
    opened: Source = opener.open_source(settings, Path(data_folder), download)
    return opened
