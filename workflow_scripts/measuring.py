"""What the commands that measure gradients share: their options, and measuring what they have drawn into a file.

With --parts, the whole that was put together from measured parts becomes the result. With --shards, one shard of the
examples is measured, and S is kept with it.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcoherence.data.loading import examples
from mcoherence.device import describe_device, prepare_device
from mcoherence.files.hdf5 import new_hdf5, write_contents
from mcoherence.files.provenance import provenance
from mcoherence.measuring.along_run import PRECISIONS, keep_sums, measure_run
from mcoherence.measuring.samples import Sample
from mcoherence.study.result_names import SHARD_SCHEMAS
from workflow_scripts.command_line import parse

OPTIONS = {"workers": 2, "images_memory_mb": 2000, "shard": 0, "shards": 1}


@dataclass(frozen=True)
class Drawn:
    """Examples to measure: "train" or "test", positions and groups in that part, and the targets of the whole part."""

    part: str
    sample: Sample
    targets: NDArray[np.int64]


def parse_measuring(description: str | None) -> Namespace:
    """The options of every command that makes a result of a run, and of one that makes a part of it."""
    return parse(
        description,
        paths=["images", "labels", "result"],
        path_lists=["split", "checkpoints", "parts"],
        options=OPTIONS,
    )


def measure_drawn(
    arguments: Namespace,
    result: Path,
    schema: str,
    drawn: Sequence[Drawn],
    names: Sequence[str],
    further: Mapping[str, NDArray[Any]],
    split: Sequence[Path] = (),
) -> None:
    """Measure what was drawn, or the shard of it that the options name, at every checkpoint, and write it.

    Args:
        arguments: as `parse_measuring` returns them.
        result: the file to write.
        schema: of the whole; a shard has one of its own.
        drawn: the examples, taken together.
        names: of the groups.
        further: datasets to write besides, which say who was drawn.
        split: files that were read to draw, beside images and labels.
    """
    settings, sharded = arguments.settings, arguments.shards > 1
    device = prepare_device(arguments.device, arguments.threads)
    samples = []
    for one in drawn:
        chosen = one.sample.shard(arguments.shard, arguments.shards)
        images = examples(
            arguments.images,
            chosen.index,
            device,
            part=one.part,
            dtype=PRECISIONS[settings["precision"]],
            memory_bytes=arguments.images_memory_mb * 10**6,
            workers=arguments.workers,
        )
        samples.append((images, torch.from_numpy(one.targets[chosen.index]).to(device), chosen.group))
    inputs_read = [arguments.images, arguments.labels, *split, *arguments.checkpoints]
    attributes = provenance(settings, inputs_read, describe_device(device))
    with new_hdf5(result, SHARD_SCHEMAS[schema] if sharded else schema) as file:
        keep = partial(keep_sums, file) if sharded else None
        datasets, measured = measure_run(arguments.checkpoints, samples, settings["precision"], names, keep)
        write_contents(file, {**datasets, **further}, attributes | measured)
