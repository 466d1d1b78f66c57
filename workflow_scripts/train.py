"""Train one run: images, labels and optionally a subset -> one checkpoint per scheduled step, and the training log."""

import torch
from torch import nn

from mcoherence.data.batches import normalized
from mcoherence.data.store import read_images, read_labels
from mcoherence.data.subsets import training_positions
from mcoherence.device import describe_device, prepare_device
from mcoherence.models import save_checkpoint
from mcoherence.provenance import provenance
from mcoherence.storage import write_csv
from mcoherence.training import TrainingSettings, train
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Train on the whole training part, or on the run's subset of it, and write what is scheduled."""
    arguments = parse(__doc__, paths=["images", "labels", "log"], path_lists=["split", "checkpoints"])
    own = dict(arguments.settings)
    identity = own.pop("run")
    settings = TrainingSettings(**own | {"checkpoint_steps": tuple(own["checkpoint_steps"])})
    path_of_step = dict(zip(settings.checkpoint_steps, arguments.checkpoints, strict=True))

    device = prepare_device(arguments.device, arguments.threads)
    part = read_images(arguments.images, "train")
    chosen = training_positions(arguments.split, identity["subset"], len(part.images))
    inputs = normalized(part)[chosen]
    labels = torch.from_numpy(read_labels(arguments.labels).labels[chosen])
    input_files = [arguments.images, arguments.labels, *arguments.split]
    origin = provenance(arguments.settings, input_files, describe_device(device))

    def save(step: int, epoch: float, model: nn.Module) -> None:
        metadata = {"step": step, "epoch": epoch, "run": identity, "provenance": origin}
        save_checkpoint(path_of_step[step], model, settings.model, part.input_shape, part.num_classes, metadata)

    log = train(settings, inputs, labels, part.num_classes, device, save)
    rows = [(step, epoch, loss) for step, (epoch, loss) in enumerate(zip(log.epoch, log.loss, strict=True))]
    write_csv(arguments.log, ["step", "epoch", "loss"], rows)


if __name__ == "__main__":
    run(main)
