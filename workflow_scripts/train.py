"""Train one segment of a run: images, labels and optionally a subset -> checkpoints, training log and end state."""

import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mcoherence.data.augmentation import augmented
from mcoherence.data.loading import LabelledExamples, image_loader
from mcoherence.data.store import read_labels
from mcoherence.data.subsets import training_positions
from mcoherence.device import describe_device, enough_memory, prepare_device
from mcoherence.files.digests import sha256_of
from mcoherence.files.json_csv import write_csv
from mcoherence.files.provenance import provenance
from mcoherence.models.build import is_own
from mcoherence.models.checkpoints import NetworkSettings, load_checkpoint, save_checkpoint
from mcoherence.precision import precision_name
from mcoherence.training.lock import only_trainer
from mcoherence.training.loop import TrainingLog, train
from mcoherence.training.ranks import device_of_rank, joined, launch, launched
from mcoherence.training.resume import Keeper, Unfinished, key_of, writing_below
from mcoherence.training.settings import WEIGHTS, Execution, TrainingSettings
from mcoherence.training.state import TrainingState, read_state, write_state
from workflow_scripts.command_line import computing_options, settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Train from where the segment begins, or from where a killed job left it, and write what is scheduled."""
    parser = settings_parser(__doc__, computing_options())
    for name in ("images", "labels", "log", "state"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("split", "begin", "checkpoints"):
        parser.add_argument(f"--{name}", type=Path, nargs="*", required=True)
    parser.add_argument("--ranks", type=int, default=1, help="processes that share the run")
    parser.add_argument("--resume-interval", type=float, default=60.0, help="seconds between states to resume from")
    parser.add_argument("--channels-last", type=int, choices=(0, 1), default=0, help="memory layout of images")
    parser.add_argument("--compile", type=int, choices=(0, 1), default=0, help="whether torch compiles the network")
    arguments = parser.parse_args()
    if arguments.ranks > 1 and not launched():
        sys.exit(launch(arguments.ranks))
    threads = max(1, arguments.threads // arguments.ranks)
    device = device_of_rank(prepare_device(arguments.device, threads, bool(arguments.deterministic)))
    model = arguments.settings["run"]["model"]
    more_memory = (
        "share mini-batches out over more GPUs (operational.ranks), keep fewer images (operational.images_memory_mb), "
        "lower operational.jobs_per_gpu, or choose another training: a smaller training.batch_size, or a smaller "
        f"network models.{model}"
    )
    with enough_memory(more_memory), joined(device) as ranks:
        execution = Execution(device, ranks, bool(arguments.channels_last), bool(arguments.compile))
        folder = arguments.state.parent
        with only_trainer(folder / "lock") if ranks.leads else nullcontext():
            train_segment(arguments, execution, folder / "unfinished")


def train_segment(arguments: Any, execution: Execution, folder: Path) -> None:
    """Train the segment that the arguments describe; `folder` holds it until it is whole."""
    own = dict(arguments.settings)
    identity, augmentation = own.pop("run"), own.pop("augmentation")
    settings = TrainingSettings(**own | {"checkpoint_steps": tuple(own["checkpoint_steps"])})
    device, ranks = execution.device, execution.ranks
    every_label = read_labels(arguments.labels).labels
    chosen = training_positions(arguments.split, identity["subset"], len(every_label))
    images = image_loader(
        arguments.images,
        chosen,
        device,
        dtype=WEIGHTS[settings.precision],
        memory_bytes=arguments.images_memory_mb * 10**6,
        workers=ranks.readers(arguments.workers),
        augment=None if augmentation is None else partial(augmented, settings=augmentation, seed=settings.seed),
    )
    labelled = LabelledExamples(images, torch.from_numpy(every_label[chosen]).to(device))
    network = NetworkSettings(settings.model, images.input_shape, images.num_classes)

    input_files = [arguments.images, arguments.labels, *arguments.split, *arguments.begin]
    where = describe_device(device) if ranks.world == 1 else f"{ranks.world} ranks on {describe_device(device)}"
    origin = provenance(arguments.settings, input_files, where, precision_name(settings.tf32), code=arguments.code)
    key = key_of(settings=arguments.settings, code=arguments.code, inputs=origin.inputs, device=device.type)
    unfinished = Unfinished(folder, key)
    if ranks.leads:
        unfinished.discard_others()
    ranks.any(False, device)  # the others look for a state once the leader holds the run's lock
    begin = unfinished.latest()
    if begin is not None:
        print(f"resume: going on from the state after update {begin.update}", file=sys.stderr)
    else:
        begin = state_to_begin_with(arguments.begin, settings)

    def save(step: int, epoch: float, model: nn.Module, diverged_at: int | None) -> None:
        metadata = {"step": step, "epoch": epoch, "run": identity, "provenance": origin.as_attributes()}
        if diverged_at is not None:
            metadata["diverged_at"] = diverged_at
        path = unfinished.checkpoint_path(step)
        with writing_below(folder):
            save_checkpoint(path, model, network, metadata)

    def keep(state: TrainingState) -> None:
        if ranks.leads:
            unfinished.keep(state)

    with Keeper(keep, arguments.resume_interval, lambda flag: ranks.any(flag, device)) as keeper:
        log, end = train(settings, labelled, execution, save, begin, keeper)
    if not ranks.leads:
        return
    if end.diverged_at is not None:
        report_divergence(log, end.diverged_at, settings)
    rows = [(log.start + i, epoch, loss) for i, (epoch, loss) in enumerate(zip(log.epoch, log.loss, strict=True))]
    with writing_below(arguments.state.parent):
        unfinished.publish(dict(zip(settings.checkpoint_steps, arguments.checkpoints, strict=True)))
        write_csv(arguments.log, ["step", "epoch", "loss"], rows)
        write_state(arguments.state, end, sha256_of(arguments.log), origin.as_attributes())
    unfinished.remove()


def state_to_begin_with(files: list[Path], settings: TrainingSettings) -> TrainingState | None:
    """The end of the segment before, or at the start of a run the weights of another run's checkpoint, or None."""
    if not files:
        return None
    if settings.start > 0:
        return read_state(files[0])
    own = settings.model["architecture"] if is_own(settings.model) else None
    return TrainingState(update=0, model=load_checkpoint(files[0], own).state_dict())


def report_divergence(log: TrainingLog, diverged_at: int, settings: TrainingSettings) -> None:
    """Say when and how the run diverged: an outcome that is recorded, after which the study's other runs go on."""
    if diverged_at < log.start:
        seen = "an earlier segment ended so,"
    elif len(log.loss) > diverged_at - log.start:
        seen = f"the loss was {log.loss[-1]}"
    else:
        seen = "weights were not finite"
    print(
        f"training diverged: {seen} at update {diverged_at}; the checkpoints after it hold NaN and say so; to train "
        f"on, lower the optimiser's lr (found {settings.optimizer['lr']:g})",
        file=sys.stderr,
    )


if __name__ == "__main__":
    run(main)
