"""Anybody's network: what a factory "module:function" makes, with weights from a file that torch or safetensors wrote.

Nothing is unpickled but tensors. Which code is run is for the caller to name, never for a file.
"""

import inspect
import os
import pickle
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mcoherence.device import is_of_device
from mcoherence.errors import UserError, first_line, raised_at, with_kind
from mcoherence.files.faults import UnreadableError
from mcoherence.files.seals import SealError, carried_seal, check_tensor_bytes
from mcoherence.own_functions import own_function
from mcoherence.parameter_names import without_wrappers

HOLDERS = ("state_dict", "model_state_dict", "model")  # keys of a saved dictionary under which training scripts keep it
SAFETENSORS = ".safetensors"


def made_network(
    factory: str,
    options: Mapping[str, Any],
    input_shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
) -> nn.Module:
    """The network that a factory makes, in eval mode, on the CPU as a rule.

    Args:
        factory: "module:function", such as "torchvision.models:resnet18"; the function, or the class, is called with
            `options` alone. One that asks for (input_shape, num_classes) first, as a study's own networks do, is given
            these. A network that stands in the module ready-made is taken as it is.
        options: arguments of the function by name.
        input_shape: (C, H, W) of one image, where the data have one.
        num_classes: number of classes, where the data have some.

    Raises:
        UserError: there is no such function, it does not take these arguments, or it returns no nn.Module.
    """
    function = own_function(factory)
    if isinstance(function, nn.Module):
        if options:
            raise UserError(f"{factory}: found a ready-made network, which takes no options; name a function instead")
        return function.eval()
    if not callable(function):
        raise UserError(f"{factory}: found a {type(function).__name__}, expected a function that returns a network")
    arguments = _arguments(factory, function, options, (input_shape, num_classes))
    try:
        model = function(*arguments, **options)
    except TypeError as error:
        if not options:
            raise
        raise UserError(
            f"{factory}: found options {dict(options)}, which it does not take ({first_line(error)}), expected options "
            "that are arguments of the function"
        ) from error
    except (RuntimeError, ValueError, LookupError, AssertionError, ArithmeticError) as error:
        place, of_device = raised_at(error), is_of_device(error)
        if not options or of_device or (place is not None and not place.ours):
            raise  # told by where the user's own code raised it
        raise UserError(
            f"{factory}: found options {dict(options)}, with which it fails ({with_kind(error)}), expected some that "
            "it builds a network of; give others"
        ) from error
    if not isinstance(model, nn.Module):
        raise UserError(f"{factory}: found a {type(model).__name__}, expected it to return a torch.nn.Module")
    lazy = next((name for name, p in model.named_parameters() if is_lazy(p)), None)
    if lazy is not None:
        raise UserError(
            f"{factory}: found {lazy} without a shape, as lazy layers have it, expected a network that is whole; let "
            "the function pass an example through it"
        )
    if empty := [name for name, value in (*model.named_parameters(), *model.named_buffers()) if value.is_meta]:
        raise UserError(
            f"{factory}: found {empty[0]} on the meta device, which holds no values, expected a network with some; "
            "build it on cpu"
        )
    return model.eval()


def _arguments(factory: str, function: Any, options: Mapping[str, Any], of_data: tuple[Any, Any]) -> tuple[Any, ...]:
    """What the function is called with before its options: nothing, or shape and classes where it asks for both."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a function that is not written in Python
        return ()
    asked = [*signature.parameters][:2]
    choices = [of_data, ()] if asked == ["input_shape", "num_classes"] else [()]
    if choices[0] == of_data and None in of_data:
        choices = [()]
    wrong = ""
    for arguments in choices:
        try:
            signature.bind(*arguments, **options)
        except TypeError as error:
            wrong = first_line(error)
        else:
            return arguments
    raise UserError(
        f"{factory}: found a function that cannot be called with the options {dict(options)} ({wrong}), expected "
        f"options that are its arguments {signature}"
    )


def load_weights(model: nn.Module, path: str | os.PathLike[str]) -> str:
    """Load a state_dict into a network, every tensor of it, by name and shape; the word taken off all names, or "".

    Names may begin with "module." or "_orig_mod.", as DataParallel, DistributedDataParallel and torch.compile leave
    them, or all with one other word, such as the "model." of a Lightning module. That word is returned: it may be
    "teacher." as well, and whether that is the network that is meant is for the user to know. Numbers are converted to
    the network's own types.

    Args:
        model: whose weights and buffers are overwritten.
        path: of safetensors, or of what torch.save wrote of a state_dict or of a dictionary that holds one under
            "state_dict", "model_state_dict" or "model".

    Raises:
        UserError: the file is missing, damaged, holds something else than tensors, or they are of another network.
    """
    own = model.state_dict()
    expected = {plain: own[name] for name, plain in without_wrappers(own).items()}
    word, found = _without_word(read_state_dict(path), expected.keys())
    missing, others = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or others:
        which = [f"{len(missing)} missing (first {missing[0]})"] if missing else []
        which += [f"{len(others)} that the network lacks (first {others[0]})"] if others else []
        raise UserError(
            f"{path}: found weights of another network: {', '.join(which)}; expected the {len(expected)} tensors of "
            "the network; name the one that was trained, with its options"
        )
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            raise UserError(
                f"{path}: found {name} of shape {list(tensor.shape)}, expected {list(expected[name].shape)} as the "
                "network has it; name the one that was trained, with its options"
            )
        if (expected[name].is_floating_point() or expected[name].is_complex()) and not (
            tensor.is_floating_point() or tensor.is_complex()
        ):
            raise UserError(
                f"{path}: found {name} of type {str(tensor.dtype).removeprefix('torch.')}, expected numbers with a "
                "fraction, as the network has them; save weights that are not quantised"
            )
        if tensor.is_complex() and not expected[name].is_complex():
            raise UserError(
                f"{path}: found {name} of type {str(tensor.dtype).removeprefix('torch.')}, expected real numbers, as "
                "the network has them; name the one that was trained, with its options"
            )
        if tensor.layout is not torch.strided:
            raise UserError(
                f"{path}: found {name} stored sparse, expected every one of its values; save tensor.to_dense()"
            )
        if tensor.is_meta:
            raise UserError(
                f"{path}: found {name} without its values, on the meta device, expected all of them; save the "
                "state_dict of a network whose weights were loaded, or drawn"
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(
                f"{path}: found {name} with values that are not finite, expected weights of a run that did not "
                "diverge; take an earlier checkpoint"
            )
    model.load_state_dict(own | {name: found[plain] for name, plain in without_wrappers(own).items()})
    return word


def _without_word(tensors: Mapping[str, Tensor], expected: Collection[str]) -> tuple[str, dict[str, Tensor]]:
    """A word before all names that does not fit, or "", and the tensors without it and without what wrappers put there.

    It is returned with its point: "model.".
    """
    found = {plain: tensors[name] for name, plain in without_wrappers(tensors).items()}
    words = {name.partition(".")[0] for name in found}
    shorter = {name.partition(".")[2]: one for name, one in found.items()}
    if len(words) == 1 and shorter.keys() == set(expected):
        return f"{words.pop()}.", shorter
    return "", found


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU; errors of `load_weights`."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: not found, expected a file of weights; save model.state_dict() there")
    return _of_safetensors(path) if path.suffix == SAFETENSORS else _of_torch(path)


def _of_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        if carried_seal(path) is not None:  # of this project: it says what it must hold
            check_tensor_bytes(path)
        return dict(load_file(path))
    except (OSError, SafetensorError, SealError, ValueError, KeyError) as error:
        _require_readable(path, error)
        raise UserError(
            f"{path}: damaged, or no safetensors ({first_line(error)}); expected a state_dict; write it again"
        ) from error


def _require_readable(path: Path, error: Exception) -> None:
    """UnreadableError where an error of reading is not the file's."""
    if isinstance(error, OSError) and error.errno is not None:
        raise UnreadableError(path, error.strerror or first_line(error)) from error


def _of_torch(path: Path) -> dict[str, Tensor]:
    way_out = "save model.state_dict() alone, by torch.save or as safetensors"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: found something else than tensors, which is never unpickled, or no file of torch.save; "
            f"expected a state_dict; {way_out}"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError) as error:
        _require_readable(path, error)
        raise UserError(f"{path}: damaged, or no file of torch.save ({first_line(error)}); {way_out}") from error
    for candidate in (content, *(content.get(key) for key in HOLDERS if isinstance(content, Mapping))):
        if isinstance(candidate, Mapping) and candidate and all(isinstance(one, Tensor) for one in candidate.values()):
            return {str(name): one for name, one in candidate.items()}
    raise UserError(
        f"{path}: found a {type(content).__name__} without a state_dict in it, expected tensors by name, or these "
        f"under one of {', '.join(HOLDERS)}; {way_out}"
    )
