"""A data set of a user's own, "module:function". Where its code is looked for, see `mcoherence.study.network_code`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcoherence.data.arguments import class_labels
from mcoherence.data.sources import Source, SourcePart
from mcoherence.data.stratified import stratified_positions
from mcoherence.errors import UserError, first_line
from mcoherence.own_functions import own_function

RETURNED = "train_images, train_targets, test_images, test_targets"


def open_source(settings: Mapping[str, Any], _data_folder: Path, _download: bool) -> Source:
    """What the user's function returns for {"source": "module:function", "shape", "options", sizes and "seed"}.

    The function is called with `options` by name. It returns arrays (train_images, train_targets, test_images,
    test_targets), and the names of the classes as a fifth thing where they have some: images uint8 [N, C, H, W] of the
    `shape` (C, H, W), targets whole numbers [N] from 0 on. Of these `train_size` and `test_size` take a part,
    stratified by class and decided by `seed`.

    Raises:
        UserError: there is no such module or function, it does not take these options, or it returns something else.
    """
    name = settings["source"]
    channels, height, width = settings["shape"]
    shape = (channels, height, width)
    function, options = own_function(name), dict(settings.get("options", {}))
    try:
        returned = function(**options)
    except TypeError as error:
        raise UserError(
            f"{name}: found a function that cannot be called with the options {options} ({first_line(error)}), "
            "expected options that are its arguments"
        ) from error
    if not isinstance(returned, tuple | list) or len(returned) not in (4, 5):
        found = f"{type(returned).__name__}{f' of {len(returned)}' if isinstance(returned, tuple | list) else ''}"
        raise UserError(f"{name}: found it to return a {found}, expected ({RETURNED}), or these and the class names")
    parts: dict[str, SourcePart] = {}
    last = -1
    for part, images, targets in zip(("train", "test"), returned[:4:2], returned[1:4:2], strict=True):
        checked = _images(f"{name}: {part}_images", images, shape)
        labels = class_labels(f"{name}: {part}_targets", targets)
        if len(labels) != len(checked) or not len(labels):
            raise UserError(
                f"{name}: found {len(checked)} {part}_images and {len(labels)} {part}_targets, expected as many of "
                "both and at least 1; let the function return a target for each image of both parts"
            )
        last = max(last, int(labels.max()))
        chosen = stratified_positions(
            labels, settings.get(f"{part}_size"), settings.get("seed", 0), f"{name}: {part}_size"
        )
        parts[part] = SourcePart(checked[chosen], labels[chosen])
    names = tuple(map(str, returned[4])) if len(returned) == 5 else tuple(map(str, range(last + 1)))
    if len(names) != last + 1 or len(set(names)) < len(names):
        raise UserError(
            f"{name}: found {len(names)} class names, some twice maybe, expected one for each target from 0 to {last}"
        )
    return Source(parts["train"], parts["test"], image_shape=shape, class_names=names)


def _images(what: str, found: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The images uint8 [N, C, H, W], from an array or a tensor; UserError where they are something else."""
    images = np.asarray(found.detach().cpu().numpy() if hasattr(found, "detach") else found)
    if images.dtype != np.uint8 or images.shape[1:] != shape or images.ndim != 4:
        raise UserError(
            f"{what}: found an array of {images.dtype} {list(images.shape)}, expected uint8 [N, "
            f"{', '.join(map(str, shape))}], as the shape in the config says; convert pixels to 0..255"
        )
    return images
