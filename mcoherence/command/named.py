"""The options that name a network, its weights and data, and what they stand for; `measure` and `examples` share them.

Those that numbers hang on are recorded as settings. Device, batches, workers and shards change rounding at most.
"""

import argparse
import json
import logging
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcoherence.command.option_types import decimal_number_of, path_of, whole_number_of
from mcoherence.errors import UserError
from mcoherence.study.shards import Shard

if TYPE_CHECKING:
    from mcoherence.data.named_data import NamedData
    from mcoherence.files.provenance import Provenance
    from mcoherence.measuring.named_network import NamedMeasurement, NamedSample


MOST_THREADS = 4096  # far above the processors of any machine, and below what systems refuse or torch cannot hold
WEIGHTS = (
    "a state_dict, or a dictionary with one, wrapped or not: safetensors, or what torch.save wrote (read without "
    "unpickling anything but tensors)"
)


def add_named_options(parser: argparse.ArgumentParser) -> None:
    """The options that `named_measurement` reads, but for those of `add_weights` or `add_weights_of_training`."""
    network = parser.add_argument_group("the network")
    network.add_argument(
        "--model",
        metavar="MODULE:FACTORY",
        help="a function, or class, that makes the network, such as torchvision.models:resnet18 or one in a module in "
        "the working directory; not needed for checkpoints of a study, which say what they hold",
    )
    network.add_argument(
        "--model-options", metavar="KEY=VALUE", nargs="+", type=_option, default=[], help="its arguments: num_classes=3"
    )
    network.add_argument(
        "--loss",
        metavar="MODULE:FUNCTION",
        help="(outputs, targets) -> losses [n], one for each "
        "example; without: cross-entropy, which takes labels from 0 on and leaves out -100",
    )
    data = parser.add_argument_group("the data")
    data.add_argument(
        "--data",
        metavar="D",
        required=True,
        help="a folder with one folder of images per class; an images.h5 of a study; or module:function, which yields "
        "batches (inputs, targets) or (inputs, targets, changed), the same whenever it is called: tensors, or dicts, "
        "tuples and lists of these, as the network takes them",
    )
    data.add_argument(
        "--data-options", metavar="KEY=VALUE", nargs="+", type=_option, default=[], help="arguments of that function"
    )
    data.add_argument("--part", choices=("train", "test"), default="train", help="of images.h5, or what D is (train)")
    data.add_argument(
        "--labels", metavar="L.h5", type=path_of, help="labels.h5 of a study: trained on in place of D's own"
    )
    data.add_argument(
        "--groups",
        choices=("class", "changed"),
        help="measure each class, or pristine and corrupt labels, apart; without: all examples together",
    )
    data.add_argument(
        "--sample", metavar="M", type=whole_number_of, help="measure M examples, drawn at random; without: all"
    )
    data.add_argument("--seed", type=whole_number_of, default=0, help="of the draw (0)")
    images = parser.add_argument_group("images of a folder", "They are read as RGB, grey ones too.")
    images.add_argument("--resize", type=whole_number_of, default=256, help="pixels of the shorter side (256)")
    images.add_argument(
        "--size", type=whole_number_of, default=224, help="pixels of the square that is cut out of the centre (224)"
    )
    images.add_argument("--mean", type=decimal_number_of, nargs=3, help="taken off (pixel / 255); without: ImageNet's")
    images.add_argument("--std", type=decimal_number_of, nargs=3, help="divided by after that; without: ImageNet's")
    images.add_argument(
        "--class-names",
        metavar="FILE",
        type=path_of,
        help="a class a line, in the order of the network's outputs; without: the folders in alphabetical order",
    )
    how = parser.add_argument_group("how it is computed")
    how.add_argument("--precision", choices=("float32", "float64"), default="float32", help="(float32)")
    how.add_argument(
        "--batch-norm",
        choices=("running", "sample"),
        default="running",
        help="what batch norm normalises by: running statistics, or those of the whole sample (running)",
    )
    how.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (auto)")
    how.add_argument("--threads", type=whole_number_of, default=_processors(), help="of the processor (all)")
    how.add_argument("--deterministic", action=argparse.BooleanOptionalAction, default=True, help="or refuse (yes)")
    how.add_argument(
        "--batch-size", type=whole_number_of, default=64, help="examples at a time; lower it for want of memory (64)"
    )
    how.add_argument("--workers", type=whole_number_of, default=2, help="processes that read images ahead (2)")


def add_weights(parser: argparse.ArgumentParser) -> None:
    """The option that names one file of weights."""
    group = parser.add_argument_group("its weights")
    group.add_argument("--weights", metavar="W", nargs=1, type=path_of, required=True, help=WEIGHTS)
    parser.set_defaults(steps=None)


def add_weights_of_training(parser: argparse.ArgumentParser) -> None:
    """The options that name one or more files of weights, in the order of training."""
    group = parser.add_argument_group("its weights")
    group.add_argument(
        "--weights",
        metavar="W",
        nargs="+",
        type=path_of,
        required=True,
        help=f"{WEIGHTS}; several files, in the order of training, are measured one after the other into one result",
    )
    group.add_argument(
        "--steps",
        nargs="+",
        type=whole_number_of,
        help="updates made until each W; without: as checkpoints say, else 0, 1, ...",
    )


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _option(text: str) -> tuple[str, Any]:
    """KEY=VALUE, the value as JSON where it is some, else as text."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected KEY=VALUE, such as num_classes=3")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def shard_of(text: str) -> Shard:
    """The shard that "I/N" stands for, I from 1 to N."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected I/N with I from 1 to N, such as 1/4")
    return Shard(int(found[1]) - 1, int(found[2]))


@dataclass(frozen=True)
class Named:
    """What the options stand for: a measurement, and where its numbers come from."""

    measurement: "NamedMeasurement"
    origin: "Provenance"


def named_files(arguments: argparse.Namespace) -> list[Path]:
    """The files that the options of `add_named_options` name, there or not."""
    return [*arguments.weights, Path(arguments.data), *([arguments.labels] if arguments.labels else [])]


def named_measurement(arguments: argparse.Namespace, command: str, shard: Shard, **further: Any) -> Named:
    """The measurement that the options of `add_named_options` describe.

    Args:
        arguments: the options, parsed.
        command: the module whose code makes the numbers.
        shard: of the sample.
        further: settings of the command's own.

    Raises:
        UserError: one of them is wrong.
    """
    import numpy as np
    import torch

    from mcoherence.data.named_data import IGNORED, BatchReading
    from mcoherence.data.store import read_labels
    from mcoherence.device import describe_device, devices, enough_memory, prepare_measuring_device
    from mcoherence.files.provenance import provenance
    from mcoherence.measuring.measurement import PRECISIONS
    from mcoherence.measuring.named_network import NamedMeasurement, fitting_network, named_sample
    from mcoherence.precision import precision_name
    from mcoherence.study.code_digest import package_digest

    for key, least in (("threads", 1), ("batch_size", 1), ("workers", 0), ("sample", 1), ("size", 1), ("seed", 0)):
        found = getattr(arguments, key)
        if found is not None and found < least:
            raise UserError(f"--{key.replace('_', '-')}: found {found}, expected {least} or more")
    if arguments.threads > MOST_THREADS:
        raise UserError(f"--threads: found {arguments.threads}, expected at most {MOST_THREADS}")
    if arguments.device not in ("auto", *devices()):
        there = ", ".join(devices())
        raise UserError(f"--device: found {arguments.device!r}, expected one that this machine has ({there}), or auto")
    for path in [*arguments.weights, *([arguments.labels] if arguments.labels else [])]:
        if not path.is_file():
            found = "found a folder" if path.is_dir() else "not found"
            raise UserError(f"{path}: {found}, expected a file; look at the path")
    loss = torch.nn.CrossEntropyLoss(reduction="none") if arguments.loss is None else _own_loss(arguments.loss)
    step, epoch = _moments(arguments)
    data = _data(arguments)
    labels = None if arguments.labels is None else read_labels(arguments.labels)
    if arguments.sample is not None and arguments.sample > len(data):
        raise UserError(
            f"--sample: found {arguments.sample}, expected at most the {len(data)} examples of {data.name}; lower it, "
            "or leave it out for all"
        )
    sample = named_sample(data, labels, arguments.groups, arguments.sample, arguments.seed)
    device = prepare_measuring_device(arguments.device, arguments.threads, arguments.deterministic)
    settings = {
        "model": _model_settings(arguments),
        "loss": "cross_entropy" if arguments.loss is None else _named_code(arguments.loss, "--loss"),
        "data": {"name": arguments.data, "part": arguments.part, **data.settings()},
        "labels": arguments.labels is not None,
        "groups": arguments.groups,
        "sample_size": arguments.sample,
        "seed": arguments.seed,
        "precision": arguments.precision,
        "batch_norm": arguments.batch_norm,
        "steps": [int(one) for one in step],
        **further,
    }
    taken_off: dict[Path, str] = {}
    reading = BatchReading(device, PRECISIONS[arguments.precision], arguments.batch_size, arguments.workers)

    def network(path: Path) -> Any:
        asked_by = "--model-options" if arguments.model_options else "--model" if arguments.model else str(path)
        with enough_memory("name a smaller one, or run where there is more", "the network", asked_by):
            return _network(arguments, path, sample, taken_off).to(device, reading.dtype)

    measurement = NamedMeasurement(
        network=network,
        weights=arguments.weights,
        step=np.array(step, dtype=np.int64),
        epoch=np.array(epoch, dtype=np.float64),
        sample=sample,
        loss=loss,
        reading=reading,
        batch_norm=arguments.batch_norm,
        shard=shard,
        run={"model": arguments.model or settings["model"]["architecture"], "data": arguments.data},
    )
    for path in arguments.weights:  # before anything that takes long
        fitting_network(measurement, path)
        if word := taken_off.get(path):
            logging.warning(
                "note: %s: all names in it begin with %r, which the network's do not; taken for the same network",
                path, word,
            )  # fmt: skip
    if data.left_out and arguments.loss is None:  # a loss of one's own may mean anything by that number
        logging.warning(
            "note: %d of the %d targets are %d, which cross-entropy leaves out: these examples have gradient 0, and "
            "count among the examples all the same",
            data.left_out, len(data), IGNORED,
        )  # fmt: skip
    files = [*arguments.weights, *([arguments.labels] if arguments.labels else [])]
    origin = provenance(
        settings,
        files,
        describe_device(device),
        precision_name(False),
        code=package_digest(command, Path(__file__).parents[2]),
    )
    return Named(measurement, replace(origin, inputs={**origin.inputs, **data.digests(sample.index)}))


def _own_loss(name: str) -> Any:
    """The function that --loss names."""
    from mcoherence.own_functions import own_function

    try:
        return own_function(name)
    except UserError as error:
        raise UserError(f"--loss: {error}") from error


def _named_code(name: str, option: str) -> dict[str, str]:
    """A "module:function" with the digest of its code, as a setting."""
    from mcoherence.study.network_code import network_code

    try:
        return {"name": name, "code": network_code(name, [Path.cwd()])}
    except UserError as error:
        raise UserError(f"{option}: {error}") from error


def _model_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the network is, as a result records it."""
    from mcoherence.models.checkpoints import read_checkpoint_metadata

    if arguments.model is not None:
        return {**_named_code(arguments.model, "--model"), "options": dict(arguments.model_options)}
    if arguments.model_options:
        raise UserError("--model-options: found some without --model, whose arguments they are; name the network")
    try:
        settings: dict[str, Any] = read_checkpoint_metadata(arguments.weights[0])["model"]["settings"]
    except (UserError, KeyError, TypeError) as error:
        raise UserError(
            f"--model: found none, and {arguments.weights[0]} is no checkpoint of a study, which would say what "
            "network it holds; name one, such as torchvision.models:resnet18"
        ) from error
    return dict(settings)


def _network(arguments: argparse.Namespace, path: Path, sample: "NamedSample", taken_off: dict[Path, str]) -> Any:
    """The network with the weights of a file; what was taken off their names is noted in `taken_off`."""
    from mcoherence.models.checkpoints import load_checkpoint
    from mcoherence.models.factories import load_weights, made_network

    if arguments.model is None:
        return load_checkpoint(path)
    names = sample.data.class_names
    options = dict(arguments.model_options)
    model = made_network(arguments.model, options, sample.data.input_shape, None if names is None else len(names))
    taken_off[path] = load_weights(model, path)
    return model


def _moments(arguments: argparse.Namespace) -> tuple[list[int], list[float]]:
    """Step and epoch of each file of weights; the epoch is NaN where nobody says it."""
    from mcoherence.models.checkpoints import read_checkpoint_metadata

    count, nowhere = len(arguments.weights), float("nan")
    if arguments.steps is not None:
        if len(arguments.steps) != count or sorted(set(arguments.steps)) != arguments.steps or arguments.steps[0] < 0:
            raise UserError(
                f"--steps: found {arguments.steps}, expected {count} ascending numbers, one for each of --weights"
            )
        return arguments.steps, [nowhere] * count
    try:
        said = [read_checkpoint_metadata(path) for path in arguments.weights]
        return [int(one["step"]) for one in said], [float(one["epoch"]) for one in said]
    except (UserError, KeyError, TypeError, ValueError):  # weights that somebody else saved
        return list(range(count)), [nowhere] * count


def _data(arguments: argparse.Namespace) -> "NamedData":
    """The data that --data names."""
    from mcoherence.data.named_data import ImagesOfFolder, ImagesOfStore
    from mcoherence.measuring.batches_of_function import BatchesOfFunction

    name, path = arguments.data, Path(arguments.data)
    if not path.exists() and ":" in name:
        code = _named_code(name, "--data")["code"]
        if arguments.sample is not None:
            raise UserError("--sample: found it with a function, which yields what is measured; let it yield fewer")
        return BatchesOfFunction(name, arguments.part, dict(arguments.data_options), code)
    if arguments.data_options:
        raise UserError("--data-options: found some, expected none but with a function module:function as --data")
    if name and path.is_dir():
        names = None if arguments.class_names is None else _lines(arguments.class_names)
        how = {"mean": arguments.mean, "std": arguments.std}
        given = {key: tuple(value) for key, value in how.items() if value is not None}
        return ImagesOfFolder(path, arguments.part, arguments.resize, arguments.size, **given, class_names=names)
    if not path.is_file():
        raise UserError(f"--data: found {name!r}, which is no folder, no file and no module:function; look at the path")
    return ImagesOfStore(path, arguments.part)


def _lines(path: Path) -> list[str]:
    """The lines of a file of names."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--class-names: {path} cannot be read ({error}); expected a name a line, in UTF-8") from error
    if len(set(names)) < len(names) or not names:
        raise UserError(f"--class-names: found {len(names)} names in {path}, some twice or none, expected each once")
    return names
