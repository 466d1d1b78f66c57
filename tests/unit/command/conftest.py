"""A user's folder: a module with a network and data, its trained weights, and a folder of images."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mcoherence.command.main import main
from mcoherence.files.provenance import git_commit
from mcoherence.study.code_digest import package_digest

MODULE = """
import torch
from torch import nn


def net(classes=3, width=4):
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, classes)
    )


def as_in_a_study(input_shape, num_classes):
    return net(num_classes)


def nothing():
    return 3


def batches(size=5):
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(12, 3, 8, 8, generator=generator), torch.arange(12) % 3
    for rows in torch.arange(12).split(size):
        yield inputs[rows], targets[rows], rows < 4


def shuffled():
    for rows in torch.randperm(12).split(4):
        yield torch.zeros(len(rows), 3, 8, 8) + rows[:, None, None, None], rows % 3


def unpaired():
    yield torch.zeros(4, 3, 8, 8), torch.zeros(3, dtype=torch.int64)


def singles():
    return [torch.zeros(3, 8, 8)]


def half_of_square(outputs, targets):
    return outputs.square().sum(dim=1) / 2


def mean_loss(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets)


def one_by_one():
    yield from ((inputs[:1], targets[:1]) for inputs, targets, _ in batches())


def with_label(label):
    for inputs, targets, _ in batches():
        yield inputs, torch.cat([targets[:-1], torch.tensor([label])])


def of_other_sizes():
    yield torch.zeros(4, 3, 8, 8), torch.arange(4) % 3
    yield torch.zeros(4, 3, 9, 9), torch.arange(4) % 3


def breaking():
    yield torch.zeros(4, 3, 8, 8), torch.arange(4) % 3
    raise KeyError("photo 17")


class Photos(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, place):
        if place == 2:
            raise OSError("photo 2 is gone")
        return torch.zeros(3, 8, 8), place


def from_a_worker():
    return torch.utils.data.DataLoader(Photos(), batch_size=2, num_workers=1)


def detached(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, reduction="none").detach()


def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))


def loss_of_few(outputs, targets):
    if int(targets.max()) == 2:
        raise ValueError("no third class")
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 3)

    def forward(self, tokens, mask):
        seen = mask.to(self.head.weight.dtype)[..., None]
        return self.head((self.embedding(tokens) * seen).sum(dim=1) / seen.sum(dim=1))


def sentences(kind):
    generator = torch.Generator().manual_seed(1)
    tokens, lengths = torch.randint(0, 7, (7, 5), generator=generator), torch.tensor([5, 1, 3, 2, 5, 4, 1])
    mask, targets = torch.arange(5) < lengths[:, None], torch.arange(7) % 3
    for rows in torch.arange(7).split(3):
        if kind == "dict":
            yield {"tokens": tokens[rows], "mask": mask[rows]}, targets[rows]
        elif kind == "tuple":
            yield (tokens[rows], mask[rows]), targets[rows]
        else:
            yield [tokens[rows].numpy(), mask[rows].numpy()], (None, {"class": targets[rows]})


def class_loss(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets[1]["class"], reduction="none")


def wrapped():
    return nn.DataParallel(net())
"""


@dataclass(frozen=True)
class Place:
    """The folder, the network with its trained weights, in float64 and eval mode, and what it is given."""

    folder: Path
    model: nn.Module
    inputs: Tensor
    targets: Tensor

    def run(self, *arguments: object) -> int:
        """The status of the command with these arguments, on one thread."""
        return main([str(one) for one in arguments])


# Half of what a command takes in a process that has imported all: code is read, and git is asked, once for all tests.
READ_ONCE = {
    "mcoherence.study.code_digest.package_digest": cache(package_digest),
    "mcoherence.files.provenance.git_commit": cache(git_commit),
}
NETWORK = ("--model", "command_user:net", "--weights", "weights.pt")
FOLDER = ("--data", "photos", "--size", 8, "--resize", 8)
QUICK = ("--threads", 1, "--device", "cpu", "--workers", 0)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module, Tensor, Tensor]:
    folder = tmp_path_factory.mktemp("user")
    (folder / "command_user.py").write_text(MODULE)
    random = np.random.default_rng(0)
    pictures, targets = random.integers(0, 256, size=(12, 8, 8, 3), dtype=np.uint8), np.repeat(np.arange(3), 4)
    for number, (picture, target) in enumerate(zip(pictures, targets, strict=True)):
        path = folder / "photos" / f"class{target}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    mean, std = (torch.tensor(one, dtype=torch.float64) for one in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    inputs = ((torch.from_numpy(pictures).double() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(targets)
    torch.manual_seed(0)
    namespace: dict[str, Callable[[], nn.Module]] = {}
    exec(MODULE, namespace)
    model = namespace["net"]()
    for _ in range(5):
        loss = nn.functional.cross_entropy(model(inputs.float()), labels)
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
    torch.save(model.state_dict(), folder / "weights.pt")
    return folder, model.double().eval(), inputs, labels


@pytest.fixture
def place(trained: tuple[Path, nn.Module, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> Place:
    """Where the commands run; the process is afterwards as it was."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    monkeypatch.chdir(trained[0])
    for name, read in READ_ONCE.items():
        monkeypatch.setattr(name, read)
    yield Place(*trained)
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)
    sys.modules.pop("command_user", None)


@pytest.fixture
def measured(place: Place, tmp_path: Path) -> Path:
    """A coherence file of the folder of images, in float64."""
    out = tmp_path / "coherence.h5"
    assert place.run("measure", *NETWORK, *FOLDER, *QUICK, "--precision", "float64", "--out", out) == 0
    return out
