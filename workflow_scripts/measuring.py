"""What the commands that measure or evaluate along a run share: their options, and what these say to the library.

With --parts, the whole that was put together from parts becomes the result. With --shards, one shard of the examples is
measured or evaluated.
"""

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from mcoherence.device import describe_device, prepare_measuring_device
from mcoherence.errors import UserError
from mcoherence.files.atomic import copy_file
from mcoherence.files.hdf5 import read_attributes
from mcoherence.files.provenance import provenance
from mcoherence.measuring.job import MeasuringJob
from mcoherence.precision import precision_name
from mcoherence.study.result_names import OWN_NETWORK
from mcoherence.study.shards import Shard
from workflow_scripts.command_line import computing_options, part_options, settings_parser

MORE_MEMORY = (
    "lower operational.gpu_batch_mb (on a processor cpu_batch_mb) for smaller batches, operational.images_memory_mb "
    "to keep fewer images, or operational.jobs_per_gpu"
)
PrepareDevice = Callable[[str, int, bool], torch.device]


def parse_measuring(description: str | None) -> Namespace:
    """The options of every command that makes a result of a run, and of one that makes a part of it."""
    parser = settings_parser(description, computing_options(), part_options())
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True, help="of the run")
    parser.add_argument("--split", type=Path, nargs="*", required=True, help="that names its subset, where it has one")
    parser.add_argument("--checkpoints", type=Path, nargs="*", required=True, help="in the order of training")
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--cpu-batch-mb", type=int, default=4000, help="that a batch may take on a processor")
    parser.add_argument("--gpu-batch-mb", type=int, default=16000, help="that a batch may take on a GPU")
    return parser.parse_args()


def copied_from_parts(arguments: Namespace) -> bool:
    """Whether the result was made in parts; then the whole of them is copied to it, and nothing is left to do.

    Raises:
        UserError: the whole was made by other code.
    """
    if arguments.parts is None:
        return False
    if read_attributes(arguments.parts).get("code", "") != arguments.code:
        raise UserError(
            f"{arguments.parts}: made by other code than the present one, expected parts and whole of one code; delete "
            f"its folder and run again"
        )
    copy_file(arguments.parts, arguments.result)
    return True


def job_of(arguments: Namespace, prepare: PrepareDevice = prepare_measuring_device) -> MeasuringJob:
    """The job that the options describe, its device prepared by a function of `mcoherence.device`."""
    device = prepare(arguments.device, arguments.threads, bool(arguments.deterministic))
    return MeasuringJob(
        arguments.images,
        arguments.checkpoints,
        device,
        arguments.images_memory_mb * 10**6,
        arguments.workers,
        Shard(arguments.shard, arguments.shards),
        arguments.settings.get(OWN_NETWORK),
        (arguments.cpu_batch_mb if device.type == "cpu" else arguments.gpu_batch_mb) * 10**6,
    )


def arithmetic_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """How gradients are measured, as `Measurement` names it."""
    return {key: settings[key] for key in ("precision", "tf32", "batch_norm")}


def seeds_of(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """What decides which examples are measured: the measurement's seed, and that of the run where it is to."""
    own = (settings["run_seed"],) if settings["sample"] == "by_seed" else ()
    return (settings["seed"], *own)


def provenance_of(arguments: Namespace, job: MeasuringJob) -> dict[str, Any]:
    """Where the result comes from, as attributes: the settings, every file that is read, and the device."""
    inputs_read = [arguments.images, arguments.labels, *arguments.split, *arguments.checkpoints]
    precision = precision_name(arguments.settings["tf32"])
    where = describe_device(job.device)
    return provenance(arguments.settings, inputs_read, where, precision, code=arguments.code).as_attributes()
