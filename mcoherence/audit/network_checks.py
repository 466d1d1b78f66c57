"""Whether the networks of a study can be trained and measured, asked before anything is trained.

What needs no weights is asked of networks without any, on torch's meta device. A user's own network can do anything, so
it is built for real, trained for one update and measured on a few random images, where the machine has the memory.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.parameter import is_lazy

from mcoherence.device import without_memory
from mcoherence.errors import UserError, fault_of_own_code, in_own_code, raised_at, with_kind
from mcoherence.gradients.batch.evidence import IdentityError
from mcoherence.gradients.statistics import gradient_statistics
from mcoherence.measuring.measurement import PRECISIONS
from mcoherence.models.build import EmptyOnMeta, construct, is_of_torchvision, is_own, outline, require_logits
from mcoherence.models.checkpoints import NetworkSettings, load_checkpoint, save_checkpoint
from mcoherence.models.initial_weights import OutputChange
from mcoherence.optim.methods import METHODS
from mcoherence.training.optimizer import make_optimizer
from mcoherence.training.settings import WEIGHTS

EXAMPLES = 4  # random images that a user's own network is tried on
SOME_CLASSES = 10  # where nobody knows how many there are


@dataclass(frozen=True)
class NetworkUse:
    """A network as a study uses it.

    name: of its entry; settings: of `build_model`; shape: (C, H, W) of the images; classes: number of them, None where
    the data alone tell; optimizer: settings of one that trains it, None where all do; trained: precision of training;
    measured: that of the gradients of single examples, None where none are taken of it.
    """

    name: str
    settings: Mapping[str, Any]
    shape: Sequence[int]
    classes: int | None
    optimizer: Mapping[str, Any] | None
    trained: str
    measured: str | None


def check_network(use: NetworkUse) -> None:
    """Check a network; torch's generator is as before.

    Raises:
        UserError: it cannot be built for these images, not trained by the optimiser, or not measured.
    """
    try:
        _check(use)
    except UserError as error:
        raise UserError(f"models.{use.name}: {error}") from error
    except (RuntimeError, MemoryError) as error:
        refused = without_memory(error, f"make the network models.{use.name} smaller, or run it where there is more")
        if refused is None:
            raise
        raise refused from error


def _check(use: NetworkUse) -> None:
    shape = (use.shape[0], use.shape[1], use.shape[2])
    name, own = str(use.settings["architecture"]), is_own(use.settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if not own:
            if not is_of_torchvision(use.settings):  # else none of its weights are made
                _require_memory(use, shape)
            trial = outline(use.settings, shape, use.classes or SOME_CLASSES)
            require_logits(trial, name, shape, use.classes)
            if isinstance(trial, OutputChange):  # whose output is to be zero at the start, which takes weights
                _require_memory(use, shape)
                _require_no_output(construct(use.settings, shape, use.classes or SOME_CLASSES), shape)
            return
        _require_memory(use, shape)
        model = _built_twice(use, shape)
        require_logits(model, name, shape, use.classes)
        _require_no_output(model, shape)
        with torch.no_grad():
            classes = int(model(torch.zeros(2, *shape)).shape[1])
        images, labels = torch.rand(EXAMPLES, *shape), torch.arange(EXAMPLES) % classes
        _require_parameters(model, name)
        _require_storable(model, use, classes)
        if use.measured is not None:
            _require_measurable(deepcopy(model), name, images, labels, use.measured)
        _require_trainable(model, name, images, labels, use)


def _built(use: NetworkUse, shape: tuple[int, int, int]) -> nn.Module:
    """The network; UserError whatever the user's code makes of it."""
    name = use.settings["architecture"]
    try:
        return construct(use.settings, shape, use.classes or SOME_CLASSES)
    except UserError:
        raise
    except SystemExit as end:
        place = raised_at(end)
        if place is None or place.ours:
            raise  # the code was edited since the study started
        raise UserError(
            f"{name}: found that it ends Python (sys.exit, {in_own_code(end)}), expected a module that only says what "
            'there is; put what runs under `if __name__ == "__main__":`'
        ) from end
    except Exception as error:
        raise UserError(
            fault_of_own_code(error) or f"{name}: {with_kind(error)}, expected a network; mend it"
        ) from error


def _built_twice(use: NetworkUse, shape: tuple[int, int, int]) -> nn.Module:
    """The network; UserError unless it is a new one at each call, with weights that torch's generator alone decides."""
    name = use.settings["architecture"]
    torch.manual_seed(0)
    model = _built(use, shape)
    torch.manual_seed(0)
    again = _built(use, shape)
    if again is model or any(one.is_meta for one in model.parameters()):
        raise UserError(
            f"{name}: found the same network at each call, expected a new one; build it inside of the function, and "
            "keep it nowhere"
        )
    first, second = model.state_dict(), again.state_dict()
    other = [key for key, value in first.items() if key not in second or not _equal(value, second[key])]
    if other or first.keys() != second.keys():
        which = other[0] if other else "the parameters"
        raise UserError(
            f"{name}: found other weights at a second call with the same seed ({which}), expected the same; draw them "
            "with torch alone, which the study seeds, not with numpy or random"
        )
    return model


def _equal(one: Any, other: Any) -> bool:
    """Whether two values of a state are the same; what is no plain tensor of numbers is not looked at."""
    if not all(isinstance(value, torch.Tensor) and value.layout == torch.strided for value in (one, other)):
        return True
    if is_lazy(one) or is_lazy(other):
        return True
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())


def _require_memory(use: NetworkUse, shape: tuple[int, int, int]) -> None:
    """UserError where the weights alone are more than this machine has memory, as far as torch's meta device tells."""
    try:
        with EmptyOnMeta():
            model = construct(use.settings, shape, use.classes or SOME_CLASSES)
        needed = sum(one.numel() * one.element_size() for one in model.state_dict().values())
    except (Exception, SystemExit):  # it computes something as it is built, say; then it is built for real
        return
    there = _memory_bytes()
    if there is not None and needed > there:
        raise UserError(
            f"{use.settings['architecture']}: found weights of {needed / 1e9:.0f} GB, expected at most the "
            f"{there / 1e9:.0f} GB of memory that this machine has; make the network smaller"
        )


def _memory_bytes() -> int | None:
    """The memory of this machine; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemTotal:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _require_no_output(model: nn.Module, shape: tuple[int, int, int]) -> None:
    """UserError where the initial output is to be subtracted and something is left of it in train mode."""
    if isinstance(model, OutputChange):
        model.require_zero(shape)


def _require_parameters(model: nn.Module, name: str) -> None:
    """UserError unless there is something to train."""
    for key, one in model.named_parameters():
        if one.is_complex():
            raise UserError(
                f"{name}: found complex numbers in {key}, expected real ones, which a checkpoint holds; keep two "
                "parameters"
            )
        if not is_lazy(one) and not bool(one.isfinite().all()):
            raise UserError(f"{name}: found NaN or infinity in {key} before any training, expected finite weights")
    if not any(one.requires_grad for one in model.parameters()):
        there = "only frozen ones" if any(True for _ in model.parameters()) else "none"
        raise UserError(
            f"{name}: found no parameter to train ({there}), expected one at least; let the network have layers with "
            "weights, and requires_grad_() on those that are to be trained"
        )


def _require_storable(model: nn.Module, use: NetworkUse, classes: int) -> None:
    """UserError unless a checkpoint of the network is read again as it was written."""
    name = use.settings["architecture"]
    network = NetworkSettings(use.settings, (use.shape[0], use.shape[1], use.shape[2]), classes)
    with TemporaryDirectory() as folder:
        path = Path(folder, "step0.safetensors")
        try:
            save_checkpoint(path, model, network, {"step": 0})
            again = load_checkpoint(path, own_network=name).state_dict()
        except (UserError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise UserError(f"{name}: found that a checkpoint of it is not to be had ({error})") from error
    different = [key for key, value in model.state_dict().items() if not torch.equal(value, again[key])]
    if different:
        raise UserError(
            f"{name}: found {different[0]} to be another once a checkpoint is read again, expected the same; let it "
            "have memory of its own"
        )


def _require_trainable(
    model: nn.Module, name: str, images: torch.Tensor, labels: torch.Tensor, use: NetworkUse
) -> None:
    """UserError unless there are parameters that the loss depends on, and the optimiser takes them."""
    optimizer, dtype = use.optimizer, WEIGHTS[use.trained]
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=use.trained == "bfloat16"):
            logits = model.train().to(dtype)(images.to(dtype)).to(dtype)
    except Exception as error:
        raise UserError(
            f"{name}: found that it fails in train mode ({in_own_code(error)}), expected logits in {use.trained}; "
            "mend the network"
        ) from error
    try:
        F.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise UserError(
            f"{name}: found that no gradient comes back from the loss ({in_own_code(error)}), expected one for its "
            "parameters; look for detach() and no_grad() in it"
        ) from error
    if optimizer is None:
        return
    sparse = [key for key, one in model.named_parameters() if one.grad is not None and one.grad.is_sparse]
    if sparse and not METHODS[optimizer["method"]].plain:
        raise UserError(
            f"{name}: found a sparse gradient of {sparse[0]}, expected dense ones for {optimizer['method']}; build its "
            "layer with sparse=False"
        )
    try:
        make_optimizer(optimizer, model)
    except (UserError, ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"{name} with the method {optimizer['method']}: {error}") from error


def _require_measurable(
    model: nn.Module, name: str, images: torch.Tensor, labels: torch.Tensor, precision: str
) -> None:
    """UserError unless gradients of single examples can be had in this precision, which the network is turned to."""
    dtype = PRECISIONS[precision]
    batches = [(images.to(dtype), labels)]
    try:
        gradient_statistics(model.eval().to(dtype), nn.CrossEntropyLoss(reduction="none"), batches, spot_check=2)
    except (UserError, IdentityError, ValueError) as error:
        raise UserError(f"{name}: {error}") from error
    except Exception as error:
        raise UserError(
            f"{name}: found that it cannot be measured on {len(images)} random images in {precision} "
            f"({in_own_code(error)}), expected gradients of single examples; let it take batches of any size, one too"
        ) from error
