"""The advice of the commands: what was refused works once it was done."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from mcoherence.data.store import IMAGES_SCHEMA, LABELS_SCHEMA
from mcoherence.errors import UserError
from mcoherence.figures.panels import message_figure
from mcoherence.figures.saving import save_figure
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.files.provenance import provenance
from mcoherence.files.tables import write_table
from tests.remedies.following import cases_of, follow, follows

from .conftest import FOLDER, NETWORK, QUICK

MODEL, WEIGHTS = NETWORK[:2], NETWORK[2:]
FUNCTION = ("--data", "command_user:batches")
MODULE = """
import sys

import numpy as np
import torch
from torch import nn

ready = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))


def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))


def few():
    yield torch.ones(4, 3, 8, 8), torch.arange(4) % 3


def hungry(outputs, targets):
    if len(targets) > 4:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def without_determinism(outputs, targets):
    if torch.are_deterministic_algorithms_enabled():
        raise RuntimeError("histc_cuda does not have a deterministic implementation")
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def shuffled(seed=None):
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed)
    for rows in torch.randperm(12, generator=generator).split(4):
        yield torch.zeros(len(rows), 3, 8, 8) + rows[:, None, None, None], rows % 3


def empty(count=0):
    for _ in range(count):
        yield torch.ones(4, 3, 8, 8), torch.arange(4) % 3


def marked(each=False):
    yield torch.ones(4, 3, 8, 8), torch.arange(4) % 3, torch.zeros(4 if each else 3, dtype=torch.bool)


def as_(kind="single"):
    inputs, targets = torch.ones(4, 3, 8, 8), torch.arange(4) % 3
    return [inputs] if kind == "single" else [(inputs, targets[:3] if kind == "unpaired" else targets)]


def regression(kind="float"):
    targets = torch.ones(4) / 2 if kind == "float" else torch.arange(4) % 3
    yield torch.ones(4, 3, 8, 8), targets


def square(outputs, targets):
    return (outputs[:, 0] - targets).square()


def far(label=7):
    yield torch.ones(4, 3, 8, 8), torch.tensor([0, 1, 2, label])


def reduced(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets)


def unreduced(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def detached(outputs, targets):
    return unreduced(outputs, targets).detach()


def turned(outputs, targets):
    return unreduced(outputs, targets) * (1 + 1j)


def real(outputs, targets):
    return turned(outputs, targets).real


def pooled(width=4, side=8, passes=None):
    if width > 8:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 TiB.")
    return Pooled(width, side, passes)


class Pooled(nn.Module):
    def __init__(self, width, side, passes):
        super().__init__()
        self.conv, self.head, self.side, self.left = nn.Conv2d(3, width, 3), nn.Linear(width, 3), side, [passes]

    def forward(self, x):
        if self.left[0] is not None:
            self.left[0] -= 1
        if x.shape[-1] > self.side and not (self.left[0] or 0) > 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.head(self.conv(x).mean(dim=(2, 3)))


def on_meta(device="meta"):
    with torch.device(device):
        return small_network()


def leaving(last=None, inputs_on="cpu", kind="float32"):
    if last is not None:
        sys.exit(last)
    inputs = torch.ones(4, 3, 8, 8, device=inputs_on)
    yield inputs if inputs_on == "meta" else inputs.numpy().astype(kind), torch.arange(4) % 3


def sized(size=9):
    yield torch.ones(4, 3, 8, 8), torch.arange(4) % 3
    yield torch.ones(4, 3, size, size), torch.arange(4) % 3


def lazy(whole=False):
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    if whole:
        model(torch.ones(1, 3, 8, 8))
    return model


def small_network(outputs=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, outputs))


def flat():
    yield torch.ones(4, 192), torch.arange(4) % 3


def one():
    yield torch.ones(1, 3, 8, 8), torch.zeros(1, dtype=torch.int64)


def normalised():
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192), nn.Linear(192, 3))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(192, 3)

    def forward(self, x):
        return self.head(self.norm(self.norm(x)).flatten(1))


def broken(whole=False):
    if not whole:
        raise KeyError("no such part")
    return small_network()
"""


@pytest.fixture
def user(place, tmp_path, capsys):
    """The user's folder with more of the user's code in it; results go to a folder of the test's own."""
    (place.folder / "remedy_user.py").write_text(MODULE)
    yield User(place, tmp_path, capsys)
    sys.modules.pop("remedy_user", None)


class User:
    """Somebody who runs commands, whose refusals are errors here."""

    def __init__(self, place, results, capsys):
        self.folder, self.results, self._place, self._capsys, self._count = place.folder, results, place, capsys, 0

    def run(self, *words):
        self._capsys.readouterr()
        try:
            status = self._place.run(*words)
        except SystemExit as leaving:
            status = leaving.code
        said = self._capsys.readouterr()
        if status:
            raise UserError((said.out if words[0] == "verify" and said.out else said.err).strip().splitlines()[-1])
        return said.out

    def measure(self, *words, command="measure", out=None):
        """The result of `mcoherence measure` with these options, a new file unless `out` names one."""
        self._count += 1
        out = out or self.results / f"{self._count}{'.h5' if command == 'measure' else '.csv'}"
        self.run(command, *QUICK, "--out", out, *words)
        return out

    def small(self, *words, weights=None):
        """A measurement of the small network of the user's module on its own weights."""
        if weights is None:
            weights = self.results / "small.pt"
            torch.save(small_state(), weights)
        return self.measure("--model", "remedy_user:small_network", "--weights", weights, *words)

    def small_of(self, factory, *words):
        """The same of another factory of it."""
        weights = self.results / "small.pt"
        torch.save(small_state(), weights)
        return self.measure("--model", f"remedy_user:{factory}", "--weights", weights, *words, *FOLDER)


def small_state():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).state_dict()


# Options that contradict each other or the data


OPTIONS = [  # message, what was typed, what the message makes of it: each way out
    ("{}; see {} --help", ["--sample", "many"], [["--help"]]),
    ("--shard: found {} shards of {} examples; ask for fewer", ["--shard", "1/20"], [["--shard", "1/2"]]),
    ("--sample: found {}, expected at most the {} examples of {}; lower it", ["--sample", 13], [["--sample", 12], []]),
    ("--resize: found {}, expected at least the {} of --size; raise it", ["--resize", 6], [["--resize", 8]]),
    ("lower it",
     ["--loss", "remedy_user:hungry"], [["--loss", "remedy_user:hungry", "--batch-size", 4]]),
    ("--device: found an operation without a deterministic algorithm on this device ({}); give --no-deterministic",
     ["--loss", "remedy_user:without_determinism"],
     [["--loss", "remedy_user:without_determinism", "--no-deterministic"]]),
    ("--loss: found {} for {} examples, expected one loss for each; let it return them unreduced",
     ["--loss", "remedy_user:reduced"], [["--loss", "remedy_user:unreduced"]]),
    ("--loss: found losses that do not depend on the weights, expected some that do; take out what detaches them",
     ["--loss", "remedy_user:detached"], [["--loss", "remedy_user:unreduced"]]),
    ("--loss: found losses of type {}, expected real numbers, which can be lowered; let it return .real or .abs() of",
     ["--loss", "remedy_user:turned"], [["--loss", "remedy_user:real"]]),
    ("{}: found {}, expected at most {}, as no image of more than {} pixels is read; lower it",
     ["--resize", 99999999999], [["--resize", 8]]),
]  # fmt: skip


@pytest.mark.parametrize(("message", "wrong", "ways_out"), OPTIONS, ids=[message[:60] for message, *_ in OPTIONS])
def test_an_option_as_the_message_says_is_taken(user, message, wrong, ways_out):
    def steps():
        yield lambda: user.measure(*NETWORK, *FOLDER, *wrong)
        for way_out in ways_out:
            yield lambda way_out=way_out: user.measure(*NETWORK, *FOLDER, *way_out)

    follow(message, steps, None)


ROOM = [  # the same of a network of the user's own, with its data and options
    ("name a smaller one, or run where there is more",
     ["pooled", "--model-options", "width=9", *FOLDER], [["pooled", "--model-options", "width=4", *FOLDER]]),
    ("lower them, or name a smaller network",
     ["pooled", "--model-options", "side=6", *FOLDER],
     [["pooled", "--model-options", "side=6", *FOLDER[:2], "--size", 6, "--resize", 6], ["pooled", *FOLDER]]),
    ("name a smaller network, or run where there is more",
     ["pooled", "--model-options", "side=6", "--data", "remedy_user:few"], [["pooled", "--data", "remedy_user:few"]]),
    ("name a smaller network or smaller images, or run it where there is more",
     ["pooled", "--model-options", "side=6", "passes=2", *FOLDER, "--batch-size", 1],
     [["pooled", *FOLDER, "--batch-size", 1],
      ["pooled", "--model-options", "side=6", *FOLDER[:2], "--size", 6, "--resize", 6, "--batch-size", 1]]),
]  # fmt: skip


@pytest.mark.parametrize(("message", "wrong", "ways_out"), ROOM, ids=[message for message, *_ in ROOM])
def test_less_memory_is_asked_for_as_the_message_says(user, message, wrong, ways_out):
    weights = user.results / "pooled.pt"

    def measured(name, *words):
        torch.save(nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "head": nn.Linear(4, 3)}).state_dict(), weights)
        user.measure("--model", f"remedy_user:{name}", "--weights", weights, *words)

    def steps():
        yield lambda: measured(*wrong)
        for way_out in ways_out:
            yield lambda way_out=way_out: measured(*way_out)

    follow(message, steps, None)


def test_an_installed_function_that_ends_python_is_told_by_the_options(user, monkeypatch):
    folder = user.results / "site-packages"
    folder.mkdir()
    (folder / "leaving_of_others.py").write_text("import sys\n\n\ndef net():\n    sys.exit(3)\n")
    monkeypatch.syspath_prepend(folder)

    def steps():
        yield lambda: user.measure("--model", "leaving_of_others:net", *WEIGHTS, *FOLDER)
        yield lambda: user.measure(*NETWORK, *FOLDER)

    follow("--model, --data, --loss: found that what one of them names ends Python (sys.exit), expected", steps, None)


def test_code_that_is_not_found_by_reading_is_told_when_it_is_imported(user):
    def measured(text):
        (user.folder / "remedy_hidden.py").write_text(text)
        (user.folder / "remedy_loader.py").write_text(
            "import importlib\nnet = importlib.import_module('remedy_hidden').net\n"
        )
        try:
            user.measure("--model", "remedy_loader:net", *WEIGHTS, *FOLDER)
        finally:
            for name in ("remedy_hidden", "remedy_loader"):
                sys.modules.pop(name, None)

    def steps():
        yield lambda: measured("def net(:\n")
        yield lambda: measured("from command_user import net\n\n# mended\n")

    follow("{}: found code that is not valid Python ({}: {}), expected some that is; mend it", steps, None)


def test_a_network_is_built_where_it_has_values_and_of_options_that_it_takes(user):
    def built():
        yield lambda: user.small_of("on_meta")
        yield lambda: user.small_of("on_meta", "--model-options", "device=cpu")

    message = "{}: found {} on the meta device, which holds no values, expected a network with some; build it on cpu"
    follow(message, built, None)
    installed = ("--model", "torch.nn:Linear", "--weights", user.results / "linear.pt", "--data", "remedy_user:flat")
    torch.save(nn.Linear(192, 3).state_dict(), installed[3])

    def of_options():
        yield lambda: user.measure(*installed, "--model-options", "in_features=-1", "out_features=3")
        yield lambda: user.measure(*installed, "--model-options", "in_features=192", "out_features=3")

    follow(
        "{}: found options {}, with which it fails ({}), expected some that it builds a network of", of_options, None
    )


def test_weights_are_saved_with_their_values(user):
    state, path = small_state(), user.results / "meta.pt"

    def measured(saved):
        torch.save(saved, path)
        user.small(*FOLDER, weights=path)

    def steps():
        yield lambda: measured({name: value.to("meta") for name, value in state.items()})
        yield lambda: measured(state)

    follow(
        "{}: found {} without its values, on the meta device, expected all of them; save the state_dict of", steps, None
    )


BATCHES = [  # the same of a function that yields the data
    ("--sample: found it with a function, which yields what is measured; let it yield fewer",
     ["remedy_user:empty", "--data-options", "count=3", "--sample", 4],
     [["remedy_user:empty", "--data-options", "count=1"]]),
    ("{}: found other batches than when it was called before, expected the same in the same order each time; switch",
     ["remedy_user:shuffled"], [["remedy_user:shuffled", "--data-options", "seed=1"]]),
    ("{}: found no batches, expected at least one; let the function yield some",
     ["remedy_user:empty"], [["remedy_user:empty", "--data-options", "count=1"]]),
    ("{}: found marks of changed labels of shape {}, expected one for each of the {} examples, in every batch; yield",
     ["remedy_user:marked"], [["remedy_user:marked", "--data-options", "each=true"]]),
    ("{}: found a function that cannot be called with {} or does not yield batches ({}), expected (inputs, targets) of "
     "each batch; look at the function and at --data-options",
     ["remedy_user:few", "--data-options", "size=3"], [["remedy_user:few"]]),
    ("{}: found a batch that is a {}{}, expected (inputs, targets), or (inputs, targets, changed); let the function",
     ["remedy_user:as_"], [["remedy_user:as_", "--data-options", "kind=paired"]]),
    ("{}: {}; let the function pair each input with its target",
     ["remedy_user:as_", "--data-options", "kind=unpaired"], [["remedy_user:as_", "--data-options", "kind=paired"]]),
    ("--groups class: found targets of {} that are no classes; leave --groups out",
     ["remedy_user:regression", "--loss", "remedy_user:square", "--groups", "class"],
     [["remedy_user:regression", "--loss", "remedy_user:square"]]),
    ("--labels: found labels of a training part for {}, expected a folder of images or an images.h5, and --part train; "
     "let a function yield the labels itself",
     ["remedy_user:marked", "--data-options", "each=true", "--labels", "remedy_labels.h5"],
     [["remedy_user:marked", "--data-options", "each=true"]]),
    ("{}: found the label {}{}, which none of the {} outputs stands for, expected labels from 0 to {} (or {}, which "
     "cross-entropy leaves out); mend the targets, or give the network as many outputs by --model-options",
     ["remedy_user:far"], [["remedy_user:far", "--data-options", "label=0"]]),
    ("{}: found targets ({}) or outputs ({}) that the loss does not take ({}); look at --model, --loss and the",
     ["remedy_user:regression"],
     [["remedy_user:regression", "--loss", "remedy_user:square"],
      ["remedy_user:regression", "--data-options", "kind=class"]]),
    ("--data: found inputs that the network fails on ({}), expected each batch to be as the first; look at the",
     ["remedy_user:sized"], [["remedy_user:sized", "--data-options", "size=8"]]),
    ("{}: found a {}, expected a function that yields batches; name one that does, or that returns it",
     ["remedy_user:MODULE_LEVEL"], [["remedy_user:few"], ["remedy_user:as_", "--data-options", "kind=paired"]]),
    ("--data: found {}, which is no folder, no file and no module:function; look at the path",
     ["remedy_user"], [["remedy_user:few"]]),
    ("let the function yield smaller batches",
     ["command_user:batches", "--loss", "remedy_user:hungry"],
     [["command_user:batches", "--data-options", "size=4", "--loss", "remedy_user:hungry"]]),
    ("{}:{}: found that it ends Python (sys.exit) in {}, expected code that returns; take it out",
     ["remedy_user:leaving", "--data-options", "last=3"], [["remedy_user:leaving"]]),
    ("found a tensor on the meta device, which holds no values, expected one on cpu or a GPU; let the function make it",
     ["remedy_user:leaving", "--data-options", "inputs_on=meta"], [["remedy_user:leaving"]]),
    ("found an array of {}, expected numbers of a type that torch has, such as float64; convert it by .astype",
     ["remedy_user:leaving", "--data-options", "kind=longdouble"],
     [["remedy_user:leaving", "--data-options", "kind=float64"],
      ["remedy_user:leaving", "--data-options", "kind=>f4"]]),
]  # fmt: skip


@pytest.mark.parametrize(("message", "wrong", "ways_out"), BATCHES, ids=[message[:60] for message, *_ in BATCHES])
def test_a_function_as_the_message_says_is_taken(user, message, wrong, ways_out):
    (user.folder / "remedy_user.py").write_text(f"{MODULE}\nMODULE_LEVEL = 3\n")
    marks = {name: np.zeros(4, dtype=np.bool_) for name in ("selected", "changed")}
    labels = {name: np.arange(4) % 3 for name in ("labels", "original")}
    write_hdf5(user.folder / "remedy_labels.h5", LABELS_SCHEMA, labels | marks, {})
    trained_on_images = "command_user:batches" in wrong

    def steps():
        for words in (wrong, *ways_out):
            named = ["--data", *words]
            yield lambda named=named: user.measure(*NETWORK, *named) if trained_on_images else user.small(*named)

    follow(message, steps, None)


@follows("{}: found the label {}{}, which none of the {} outputs stands for")
def a_network_of_more_outputs(user):
    weights = user.results / "eight.pt"
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(192, 8)).state_dict(), weights)
    yield lambda: user.small("--data", "remedy_user:far")
    yield lambda: user.small("--data", "remedy_user:far", "--model-options", "outputs=8", weights=weights)


# Networks and weights


@follows("--model-options: found some without --model, whose arguments they are; name the network")
def options_of_no_network(user):
    yield lambda: user.measure(*WEIGHTS, *FOLDER, "--model-options", "classes=3")
    yield lambda: user.measure(*NETWORK, *FOLDER, "--model-options", "classes=3")


@follows("--model: found none, and {} is no checkpoint of a study, which would say what network it holds; name one")
def no_network(user):
    yield lambda: user.measure(*WEIGHTS, *FOLDER)
    yield lambda: user.measure(*NETWORK, *FOLDER)


@follows("{}: found a ready-made network, which takes no options; name a function instead")
def options_of_a_ready_network(user):
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).state_dict(), "ready.pt")
    asked = ("--weights", "ready.pt", "--data", "remedy_user:few", "--model-options", "outputs=3")
    yield lambda: user.measure("--model", "remedy_user:ready", *asked)
    yield lambda: user.measure("--model", "remedy_user:small_network", *asked)


@follows(
    "{}: found {} without a shape, as lazy layers have it, expected a network that is whole; let the function pass"
)
def a_lazy_network(user):
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).state_dict(), "lazy.pt")
    asked = ("--model", "remedy_user:lazy", "--weights", "lazy.pt", "--data", "remedy_user:few")
    yield lambda: user.measure(*asked)
    yield lambda: user.measure(*asked, "--model-options", "whole=true")


@follows("{}:{}: found {} in {}, expected none; mend it, or what it is given")
def a_network_that_raises(user):
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).state_dict(), "broken.pt")
    asked = ("--model", "remedy_user:broken", "--weights", "broken.pt", "--data", "remedy_user:few")
    yield lambda: user.measure(*asked)
    yield lambda: user.measure(*asked, "--model-options", "whole=true")


@pytest.mark.parametrize(
    ("message", "factory", "data"),
    [
        ("--batch-norm sample: {}; give --batch-norm running", "normalised", "one"),
        ("batch norm that a forward pass calls more than once: {}; in training every call has statistics of its own",
         "Twice", "few"),
    ],
)  # fmt: skip
def test_batch_norm_is_measured_with_running_statistics(user, message, factory, data):
    namespace = {}
    exec(MODULE, namespace)
    torch.save(namespace[factory]().state_dict(), user.results / "w.pt")
    asked = ("--model", f"remedy_user:{factory}", "--weights", user.results / "w.pt", "--data", f"remedy_user:{data}")

    def steps():
        yield lambda: user.measure(*asked, "--batch-norm", "sample")
        yield lambda: user.measure(*asked, "--batch-norm", "running")

    follow(message, steps, None)


@follows(
    "found no module {}, expected one in the working directory or an installed one; run where the file lies, or add"
)
def a_loss_elsewhere(user, monkeypatch):
    elsewhere = user.results / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "remedy_elsewhere.py").write_text(MODULE)
    asked = (*NETWORK, *FOLDER, "--loss", "remedy_elsewhere:unreduced")
    yield lambda: user.measure(*asked)
    monkeypatch.syspath_prepend(elsewhere)  # as PYTHONPATH does
    yield lambda: user.measure(*asked)


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        ("{}: not found, expected a file of weights; save model.state_dict() there", None),
        ("{}: {}, expected a file; look at the path", None),
        ("{}: found weights of another network: {}; expected the {} tensors of the network; name the one that was",
         lambda state: {"0.weight": state["0.weight"]}),
        ("{}: found {} of shape {}, expected {} as the network has it; name the one that was trained, with its",
         lambda state: dict(state, **{"0.weight": torch.zeros(4, 3, 5, 5)})),
        ("{}: found {} of type {}, expected numbers with a fraction, as the network has them; save weights that are",
         lambda state: {name: one.to(torch.int8) for name, one in state.items()}),
        ("{}: found {} of type {}, expected real numbers, as the network has them; name the one that was trained",
         lambda state: dict(state, **{"0.weight": state["0.weight"].to(torch.complex64)})),
        ("{}: found {} stored sparse, expected every one of its values; save tensor.to_dense()",
         lambda state: dict(state, **{"0.weight": state["0.weight"].to_sparse()})),
        ("{}: found {} with values that are not finite, expected weights of a run that did not diverge; take an",
         lambda state: dict(state, **{"0.weight": state["0.weight"] / 0})),
        ("{}: found a {} without a state_dict in it, expected tensors by name, or these under one of {}; {}",
         lambda _: {"epoch": 3}),
        ("{}: found something else than tensors, which is never unpickled, or no file of torch.save; expected a",
         lambda _: nn.Linear(2, 2)),
        ("{}: damaged, or no file of torch.save ({}); {}", b"PK\x03\x04 cut"),
        ("save model.state_dict() alone, by torch.save or as safetensors", lambda _: {"epoch": 3}),
    ],
)  # fmt: skip
def test_weights_saved_as_the_message_says_are_taken(user, message, wrong):
    path, state = user.results / "w.pt", torch.load("weights.pt", weights_only=True)
    if callable(wrong):
        torch.save(wrong(state), path)
    elif wrong is not None:
        path.write_bytes(wrong)
    asked = (*MODEL, "--weights", path, *FOLDER)

    def steps():
        if message.startswith("{}: not found, expected a file of weights"):
            from mcoherence.models.factories import read_state_dict

            yield lambda: read_state_dict(path)
        else:
            yield lambda: user.measure(*asked)
        torch.save(state, path)
        yield lambda: user.measure(*asked)

    follow(message, steps, None)


@follows("{}: damaged, or no safetensors ({}); expected a state_dict; write it again")
def cut_safetensors(user):
    from safetensors.torch import save_file

    path = user.results / "w.safetensors"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{")
    yield lambda: user.measure(*MODEL, "--weights", path, *FOLDER)
    save_file(torch.load("weights.pt", weights_only=True), path)
    yield lambda: user.measure(*MODEL, "--weights", path, *FOLDER)


# Folders of images


def photos(folder, *classes, size=8):
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (size, size), (60 * number, 20, 30)).save(folder / name / "1.png")


@follows("{}: found the folders {}, expected one folder of images per class; name one of them: --data {}")
def both_parts(user):
    for part in ("train", "val"):
        photos(user.results / "both" / part, "class0", "class1", "class2")
    yield lambda: user.measure(*NETWORK, "--data", user.results / "both", *FOLDER[2:])
    yield lambda: user.measure(*NETWORK, "--data", user.results / "both/train", *FOLDER[2:])


@follows("{}: found no folders, expected one folder of images per class; sort the images into folders")
def no_folders(user):
    (user.results / "flat").mkdir()
    asked = (*NETWORK, "--data", user.results / "flat", *FOLDER[2:])
    yield lambda: user.measure(*asked)
    photos(user.results / "flat", "class0", "class1", "class2")
    yield lambda: user.measure(*asked)


@follows("{}: found the folder {}, which --class-names lacks, expected a name for each; add it")
def a_name_too_few(user):
    names = user.results / "names.txt"
    names.write_text("class0\nclass1\n")
    yield lambda: user.measure(*NETWORK, *FOLDER, "--class-names", names)
    names.write_text("class0\nclass1\nclass2\n")
    yield lambda: user.measure(*NETWORK, *FOLDER, "--class-names", names)


@follows("--class-names: {} cannot be read ({}); expected a name a line, in UTF-8")
def names_that_are_no_utf8(user):
    names = user.results / "names.txt"
    names.write_bytes(b"class0\nclass1\ncl\xe4ss2\n")
    yield lambda: user.measure(*NETWORK, *FOLDER, "--class-names", names)
    names.write_text("class0\nclass1\nclass2\n", encoding="utf-8")
    yield lambda: user.measure(*NETWORK, *FOLDER, "--class-names", names)


@follows(
    "{}: found {} classes and a network of {} outputs, expected as many; give the network's options, or, of a folder"
)
def fewer_classes_than_outputs(user):
    photos(user.results / "two", "class0", "class1")
    asked = (*NETWORK, "--data", user.results / "two", *FOLDER[2:])
    yield lambda: user.measure(*asked)
    names = user.results / "names.txt"
    names.write_text("class0\nclass1\nclass2\n")
    yield lambda: user.measure(*asked, "--class-names", names)
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).state_dict(), user.results / "two.pt")
    yield lambda: user.small(*asked[4:], "--model-options", "outputs=2", weights=user.results / "two.pt")


@follows("found {} images that do not decode: {}; mend or remove them")
def a_broken_image(user):
    photos(user.results / "broken", "class0", "class1", "class2")
    (user.results / "broken/class1/2.png").write_bytes(b"no picture")
    asked = (*NETWORK, "--data", user.results / "broken", *FOLDER[2:])
    yield lambda: user.measure(*asked)
    (user.results / "broken/class1/2.png").unlink()
    yield lambda: user.measure(*asked)


@follows("{}: found {}, which the network does not take ({}); expected inputs as it was trained on; look at --model")
def images_of_another_size(user):
    yield lambda: user.measure(*NETWORK, *FOLDER[:2], "--size", 16, "--resize", 16)
    yield lambda: user.measure(*NETWORK, *FOLDER)


@follows(
    "--groups: found {} groups, whose sums of gradients take {} GB, expected at most the {} GB of this machine; measure"
)
def groups_that_take_too_much(user, monkeypatch):
    sysconf = "mcoherence.measuring.named_network.os.sysconf"
    needed = 4 * (4 * 27 + 4 + 8 + 36 * 4 * 3 + 3)
    monkeypatch.setattr(sysconf, lambda name: 1 if name == "SC_PAGE_SIZE" else 2 * needed)
    yield lambda: user.measure(*NETWORK, *FOLDER, "--groups", "class")
    yield lambda: user.measure(*NETWORK, *FOLDER)


# Where results go


@pytest.mark.parametrize(
    ("message", "out", "way_out"),
    [
        ("{}: found the folder {}, expected a file; name one in it", "folder.h5", "folder.h5/o.h5"),
        ("{}: found the file {} in the place of a folder; name another folder", "file/o.h5", "other/o.h5"),
        ("{}: found {}, in which this user cannot write ({}); name another folder", "/proc/o.h5", "other/o.h5"),
        ("{}: found {}, which is read as well, expected another file; name a new one", "images.h5", "o.h5"),
        ("{}: found {}, which mcoherence has not written, or not as it is now, expected a new name or a result to "
         "replace; name another, or move it away", "strange.h5", "o.h5"),
    ],
)  # fmt: skip
def test_a_result_goes_where_the_message_says(user, message, out, way_out):
    folder = user.results
    (folder / "folder.h5").mkdir()
    (folder / "file").write_text("")
    (folder / "strange.h5").write_text("a program's")
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
    parts = {f"{part}/images": images for part in ("train", "test")}
    parts |= {f"{part}/targets": np.arange(6) % 3 for part in ("train", "test")}
    said = {"mean": [0.5] * 3, "std": [0.3] * 3, "class_names": ["a", "b", "c"]}
    write_hdf5(folder / "images.h5", IMAGES_SCHEMA, parts, said)
    asked = (*NETWORK, "--data", folder / "images.h5")

    def steps():
        yield lambda: user.measure(*asked, out=folder / out)
        yield lambda: user.measure(*asked, out=folder / way_out)
        if out == "strange.h5":
            (folder / out).rename(folder / "moved.h5")
            yield lambda: user.measure(*asked, out=folder / out)

    follow(message, steps, None)


@follows("--along: found {}{}, expected sum, weights, or sum:GROUP of a group of --groups; name one of these")
def an_unknown_direction(user):
    asked = (*NETWORK, *FOLDER, "--along")
    yield lambda: user.measure(*asked, "sum:class0", command="examples")
    for name in ("sum", "weights"):
        yield lambda name=name: user.measure(*asked, name, command="examples")
    yield lambda: user.measure(*asked, "sum:class0", "--groups", "class", command="examples")


# Shards


@pytest.mark.parametrize(
    ("message", "changed", "again"),
    [
        ("{}: found {} {} where {} has {}, expected shards of one measurement; measure one of",
         ["--seed", 1], ["--seed", 0]),
        ("{}: found one of {} shards where {} is one of {}, expected shards of one measurement; measure one",
         ["--shard", "2/3"], []),
        ("{}: found other weights or data than in {}, expected shards of one measurement; measure both again",
         ["--weights", "other.pt"], []),
    ],
)  # fmt: skip
def test_shards_measured_again_as_the_message_says_make_a_whole(user, message, changed, again):
    state = torch.load("weights.pt", weights_only=True)
    torch.save({name: one * 2 for name, one in state.items()}, "other.pt")
    first = user.measure(*NETWORK, *FOLDER, "--shard", "1/2")
    second = user.measure(*NETWORK, *FOLDER, "--shard", "2/2", *changed)

    def steps():
        yield lambda: user.run("merge", first, second, "--out", user.results / "o.h5")
        for path, number in ((first, 1), (second, 2)) if "both" in message else ((second, 2),):
            user.measure(*NETWORK, *FOLDER, "--shard", f"{number}/2", *again, out=path)
        yield lambda: user.run("merge", first, second, "--out", user.results / "o.h5")

    follow(message, steps, None)


@follows("{}: found {} of its {} shards, expected all of them; measure --shard {}/{} too")
def a_missing_shard(user):
    first = user.measure(*NETWORK, *FOLDER, "--shard", "1/2")
    yield lambda: user.run("merge", first, "--out", user.results / "o.h5")
    second = user.measure(*NETWORK, *FOLDER, "--shard", "2/2")
    yield lambda: user.run("merge", first, second, "--out", user.results / "o.h5")


@follows("{}: found the shard of {} again, expected each once; leave one out")
def a_shard_twice(user):
    first, second = (user.measure(*NETWORK, *FOLDER, "--shard", f"{number}/2") for number in (1, 2))
    yield lambda: user.run("merge", first, second, first, "--out", user.results / "o.h5")
    yield lambda: user.run("merge", first, second, "--out", user.results / "o.h5")


@follows("{}: not found, expected a shard that measure --shard has written; look at the path")
def no_shard(user):
    first = user.measure(*NETWORK, *FOLDER, "--shard", "1/1")
    yield lambda: user.run("merge", user.results / "none.h5", "--out", user.results / "o.h5")
    with pytest.raises(UserError):  # a whole is no shard
        user.run("merge", first, "--out", user.results / "o.h5")
    first, second = (user.measure(*NETWORK, *FOLDER, "--shard", f"{number}/2") for number in (1, 2))
    yield lambda: user.run("merge", first, second, "--out", user.results / "o.h5")


@follows("{}: shard {} of {}; put them together by mcoherence merge")
def shards_are_put_together(user):
    paths = []

    def measured(number):
        paths.append(user.results / f"shard{number}.h5")
        return user.run("measure", *QUICK, *NETWORK, *FOLDER, "--shard", f"{number}/2", "--out", paths[-1])

    def say():
        raise UserError(measured(1))  # it is no refusal, but the last line of a measurement

    yield say
    measured(2)
    yield lambda: user.run("merge", *paths, "--out", user.results / "o.h5")


# What is there to be shown and verified


@pytest.fixture
def files(user, measured):
    """A coherence file, a table and a file of another program."""
    origin = provenance({}, [])
    csv, parquet = user.results / "t.csv", user.results / "t.parquet"
    write_table(pd.DataFrame({"a": [1, 2]}), csv, parquet, origin)
    (user.results / "other.csv").write_text("x\n1\n")
    return {"coherence": measured, "table": parquet, "csv": csv, "other": user.results / "other.csv"}


SHOWN = [
    ("{}: not found, expected a result file or the folder of a study; look at the", ["none.h5"], [["{coherence}"]]),
    ("show: found {} paths, expected one, or the folders of two studies; show files one by one",
     ["{coherence}", "{table}"], [["{coherence}"], ["{table}"]]),
    ("--sort: found {}, expected a table of columns; leave --sort", ["{coherence}", "--sort", "a"], [["{coherence}"]]),
    ("--{}: found {}, expected one coherence file, or the CSV of a monitor; leave --{} out",
     ["{table}", "--groups", "train"], [["{table}"]]),
]  # fmt: skip


@pytest.mark.parametrize(("message", "wrong", "ways_out"), SHOWN, ids=[message[:60] for message, *_ in SHOWN])
def test_what_the_message_says_is_shown(user, files, message, wrong, ways_out):
    def steps():
        for words in (wrong, *ways_out):
            yield lambda words=words: user.run("show", *(word.format(**files) for word in words))

    follow(message, steps, None)


@follows(
    "{}: found no rows of a monitor, and no {} beside it, expected either; bring the Parquet form of the table beside"
)
def a_table_without_its_other_form(user, files):
    kept = files["table"].rename(user.results / "kept.parquet")
    yield lambda: user.run("show", files["csv"])
    shutil.copy2(kept, files["table"])
    yield lambda: user.run("show", files["csv"])


@follows("{}: not found, expected a result file or a folder of some; look at the path")
def nothing_to_verify(user, files):
    yield lambda: user.run("verify", user.results / "none.h5")
    yield lambda: user.run("verify", files["coherence"])


@follows("--code: found {}, expected the folder of a study; leave --code out")
def code_of_a_file(user, files):
    yield lambda: user.run("verify", "--code", files["coherence"])
    yield lambda: user.run("verify", files["coherence"])


@follows("expected some; name the folder of a study, such as results/digits, or of files that a command wrote")
def a_folder_without_results(user, files):
    yield lambda: user.run("verify", "photos")
    yield lambda: user.run("verify", files["coherence"].parent)


@follows(
    "{}: found a copy of the figure {} as it was drawn, without its PDF or under another name, expected {}.png and"
)
def a_copied_figure(user):
    png, pdf = user.results / "summary.png", user.results / "summary.pdf"
    save_figure(message_figure("summary"), png, pdf, 60, provenance({}, []))
    talk = user.results / "talk.png"
    shutil.copy2(png, talk)
    yield lambda: user.run("verify", talk)
    yield lambda: user.run("verify", png)
    save_figure(message_figure("talk"), talk, user.results / "talk.pdf", 60, provenance({}, []))
    yield lambda: user.run("verify", talk)


@follows(
    "{}: found a config that no study of this version has ({}), expected that of a finished study; run the study to"
)
def a_config_of_no_study(user, files):
    study = user.results / "study"
    study.mkdir()
    (study / "config.json").write_text('{"experiments": ["label_noise"]}')
    shutil.copy2(files["coherence"], study / "coherence.h5")
    yield lambda: user.run("verify", study)
    yield lambda: user.run("verify", study / "coherence.h5")


@follows("delete the file and run again")
def a_damaged_result(user, files):
    path = files["coherence"]
    content = bytearray(path.read_bytes())
    content[3000] ^= 1
    path.write_bytes(content)
    yield lambda: user.run("verify", path)
    path.unlink()
    user.measure(*NETWORK, *FOLDER, "--precision", "float64", out=path)
    yield lambda: user.run("verify", path)


@follows("bring back the one that was there, or measure again")
def weights_that_changed(user):
    path = user.measure(*NETWORK, *FOLDER)
    kept = Path("weights.pt").read_bytes()
    torch.save({name: one * 2 for name, one in torch.load("weights.pt", weights_only=True).items()}, "weights.pt")
    yield lambda: user.run("verify", path)
    other = Path("weights.pt").read_bytes()
    Path("weights.pt").write_bytes(kept)
    yield lambda: user.run("verify", path)
    Path("weights.pt").write_bytes(other)
    user.measure(*NETWORK, *FOLDER, out=path)
    yield lambda: user.run("verify", path)
    Path("weights.pt").write_bytes(kept)


@pytest.mark.parametrize(
    "message",
    [
        "{}: made from other images of {} than are there now; measure again",
        "{}: made from images that are no longer as they were ({}); measure again",
    ],
)
def test_a_file_of_other_images_is_verified_once_it_was_measured_again(user, message):
    folder = user.results / "mine"
    photos(folder, "class0", "class1", "class2")
    asked = (*NETWORK, "--data", folder, *FOLDER[2:])
    path = user.measure(*asked)

    def steps():
        if "other" in message:
            photos(folder, "class2", "class0", "class1")  # other colours
        else:
            shutil.rmtree(folder / "class1")
            photos(folder, "class9")
        yield lambda: user.run("verify", path)
        if "other" not in message:  # the network is of three classes
            shutil.rmtree(folder)
            photos(folder, "class2", "class3", "class4")
        user.measure(*asked, out=path)
        yield lambda: user.run("verify", path)

    follow(message, steps, None)


@follows("{}: found a file of another program, expected a result file of mcoherence; look at the path")
def somebody_elses_file(user, files):
    import h5py

    with h5py.File(user.results / "theirs.h5", "w") as file:
        file["a"] = [1.0]
        file.attrs["title"] = "theirs"
    yield lambda: user.run("show", user.results / "theirs.h5")
    yield lambda: user.run("show", files["coherence"])


@follows("{}: found no HDF5 file, expected one of mcoherence's; look at the path")
def a_text_for_data(user, files):
    yield lambda: user.measure(*NETWORK, "--data", files["table"])
    yield lambda: user.measure(*NETWORK, *FOLDER)


@follows("{}: found nothing in it that says mcoherence wrote it, expected a result file; look at the path, or make")
def a_result_that_was_cut_off(user, files):
    path = user.results / "cut.h5"
    path.write_bytes(b"")
    yield lambda: user.run("show", path)
    yield lambda: user.run("show", files["coherence"])
    path.unlink()
    user.measure(*NETWORK, *FOLDER, out=path)
    yield lambda: user.run("show", path)


@follows("{}: missing or damaged ({}), expected the config of a finished study; run the study to its end, or")
def a_study_that_has_not_ended(user, files):
    study = user.results / "study"
    (study / "runs/digits/mlp/clean/sgd/full/seed0").mkdir(parents=True)
    shutil.copy2(files["coherence"], study / "coherence.h5")
    yield lambda: user.run("verify", study)
    yield lambda: user.run("verify", study / "coherence.h5")


@cases_of(__name__)
def test_the_advice_is_followed(message, case, request):
    follow(message, case, request)
