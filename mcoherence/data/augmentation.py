"""Augmentation of training batches on their device: random resized crop and horizontal flip.

What happens to the images of a draw depends on (seed, number of the draw) alone, so that a resumed run continues to the
bit. Measuring and evaluating never augment.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from mcoherence.data.arguments import share
from mcoherence.data.random_streams import AUGMENTATION, random_stream
from mcoherence.device import sent

ATTEMPTS = 10  # to draw a box that lies inside the image, as in torchvision's RandomResizedCrop


def augmented(inputs: Tensor, draw: int, settings: Mapping[str, Any], seed: int) -> Tensor:
    """A batch with every image cropped, resized back and flipped at random; shape [n, C, H, W] as before.

    Args:
        inputs: images, floating point [n, C, H, W].
        draw: number of the batch within the run.
        settings: {"crop_scale": [low, high] share of the area, "crop_ratio": [low, high] width over height,
            "flip": probability}; a crop_scale of None leaves the images whole.
        seed: of the run.

    Raises:
        UserError: flip or a bound of crop_scale is no number in [0, 1].

    Example:
        augment = partial(augmented, settings={"crop_scale": None, "flip": 0.5}, seed=0)
        loader = image_loader(images, positions, device, augment=augment)
    """
    flip = share("augmentation.flip", settings["flip"])
    for bound in settings["crop_scale"] or ():
        share("augmentation.crop_scale", bound)
    generator = random_stream(seed, AUGMENTATION, draw)
    count, _, height, width = inputs.shape
    if settings["crop_scale"] is not None:
        boxes = random_boxes(generator, count, (height, width), settings["crop_scale"], settings["crop_ratio"])
        inputs = cropped(inputs, torch.from_numpy(boxes))
    flipped = sent(torch.from_numpy(generator.random(count) < flip), inputs.device)
    return torch.where(flipped[:, None, None, None], inputs.flip(3), inputs)


def random_boxes(
    generator: np.random.Generator, count: int, shape: tuple[int, int], scale: Sequence[float], ratio: Sequence[float]
) -> NDArray[np.int64]:
    """Boxes (left, top, width, height) int64 [count, 4] within images of `shape` (H, W).

    The law of torchvision's RandomResizedCrop: area uniform in `scale`, log aspect ratio uniform in log `ratio`, place
    uniform; after ten boxes that do not fit, the largest one in the middle whose ratio is within the bounds.
    """
    height, width = shape
    area = height * width * generator.uniform(scale[0], scale[1], (count, ATTEMPTS))
    aspect = np.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1]), (count, ATTEMPTS)))
    widths = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    heights = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    rows, first = np.arange(count), fits.argmax(axis=1)  # the first that fits
    box_width, box_height = widths[rows, first], heights[rows, first]
    place = generator.random((2, count))
    left = np.floor(place[0] * (width - box_width + 1)).astype(np.int64)
    top = np.floor(place[1] * (height - box_height + 1)).astype(np.int64)
    boxes = np.stack([left, top, box_width, box_height], axis=1)
    best = min(max(width / height, ratio[0]), ratio[1])
    middle_width, middle_height = min(width, round(height * best)), min(height, round(width / best))
    middle = ((width - middle_width) // 2, (height - middle_height) // 2, middle_width, middle_height)
    boxes[~fits.any(axis=1)] = middle
    return boxes


def cropped(inputs: Tensor, boxes: Tensor) -> Tensor:
    """Every image's box, resized to the whole image (bilinear).

    Equal, up to rounding, to F.interpolate(box, mode="bilinear") of each box alone.

    Args:
        inputs: floating point [n, C, H, W].
        boxes: (left, top, width, height) int64 [n, 4].
    """
    height, width = inputs.shape[-2:]
    left, top, box_width, box_height = sent(boxes.to(inputs.dtype), inputs.device).T[..., None]  # each [n, 1]

    def sampled(start: Tensor, extent: Tensor, size: int) -> Tensor:
        """Where along one axis the `size` pixels of a result lie in the image, [n, size]; never outside the box."""
        steps = (torch.arange(size, device=inputs.device, dtype=inputs.dtype) + 0.5) / size
        inside = (steps * extent - 0.5).clamp(min=0.0)
        return start + torch.minimum(inside, extent - 1)

    across, down = sampled(left, box_width, width), sampled(top, box_height, height)
    grid = torch.stack(
        [
            ((2 * across + 1) / width - 1)[:, None, :].expand(-1, height, -1),
            ((2 * down + 1) / height - 1)[:, :, None].expand(-1, -1, width),
        ],
        dim=-1,
    )
    return F.grid_sample(inputs, grid, mode="bilinear", padding_mode="border", align_corners=False)
