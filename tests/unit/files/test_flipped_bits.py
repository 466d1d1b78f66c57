"""One flipped bit, or a cut, in a file of any kind: one line, or nothing of what is read is changed.

Which bits is drawn by a fixed seed; a longer search is the same with another number of flips.
"""

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mcoherence.audit.origins import read_provenance
from mcoherence.audit.result_checks import check_log
from mcoherence.claims.page import write_claims
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.stored import read_claims
from mcoherence.errors import UserError
from mcoherence.figures.panels import message_figure
from mcoherence.figures.saving import save_figure
from mcoherence.files.digests import sha256_of
from mcoherence.files.hdf5 import check_content, open_hdf5, read_hdf5, write_hdf5
from mcoherence.files.layouts import LAYOUTS
from mcoherence.files.page import check_page, write_page
from mcoherence.files.pictures import check_picture
from mcoherence.files.provenance import provenance
from mcoherence.files.tables import check_table, read_table, write_table
from mcoherence.models import NetworkSettings, build_model, load_checkpoint, read_checkpoint_metadata, save_checkpoint
from mcoherence.training.resume import Unfinished
from mcoherence.training.state import TrainingState, read_state, write_state

FLIPS = 12  # of each file
SIZES = {"N": 30, "M": 20, "C": 1, "H": 4, "W": 4, "A": 3, "K": 4, "G": 3, "P": 5, "L": 2, "m": 12, "h": 6, "R": 2}
MLP = {"architecture": "mlp", "hidden": [3]}
TABLE = pd.DataFrame({"model": ["mlp", "cnn"] * 20, "step": range(40), "loss": np.linspace(0, 1, 40)})


def exact(value):
    """A value as text that shows every bit of the arrays and tensors in it."""
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {value.tolist() if value.dtype == object else value.tobytes().hex()}"
    if isinstance(value, dict):
        return str({key: exact(inner) for key, inner in value.items()})
    return str([exact(inner) for inner in value]) if isinstance(value, list | tuple) else repr(value)


def contents_of(schema):
    """Data sets and attributes of a small file of a schema."""
    draw, datasets = np.random.default_rng(0), {}
    for pattern, stored in LAYOUTS[schema].datasets.items():
        name = pattern.replace("{}", "0/layer.weight" if pattern.startswith("sums") else "easy")
        shape = tuple(SIZES.get(letter, 7) for letter in stored.axes.replace("...", "P").split())
        highest = SIZES[stored.below] if stored.below else 3
        datasets[name] = {
            "pixels": lambda shape=shape: draw.integers(0, 256, shape).astype(np.uint8),
            "integer": lambda shape=shape, highest=highest: np.arange(np.prod(shape)).reshape(shape) % highest,
            "number": lambda shape=shape: draw.normal(size=shape),
            "truth": lambda shape=shape: draw.random(shape) > 0.5,
            "text": lambda shape=shape, name=name: [f"{name}{i}" for i in range(shape[0])],
        }[stored.kind]()
    attributes = {"mean": [0.5], "std": [0.25], "class_names": ["a", "b", "ü"]} if "A" in str(LAYOUTS[schema]) else {}
    return datasets, attributes | provenance({"lr": 0.1, "seed": 3}, []).as_attributes()


def write_file_of(schema):
    return lambda folder: write_hdf5(folder / "file.h5", schema, *contents_of(schema))


def read_file_of(schema):
    def read(folder):
        read_provenance(folder / "file.h5")
        with open_hdf5(folder / "file.h5", schema) as file:
            first = {name: file[name][:1] for name in json.loads(file.attrs["contents"])}
        check_content(folder / "file.h5")
        return read_hdf5(folder / "file.h5", schema), first

    return read


def write_checkpoint(folder):
    torch.manual_seed(0)
    metadata = {"step": 3, "epoch": 0.5, "run": {"seed": 1}, "provenance": provenance({}, []).as_attributes()}
    save_checkpoint(
        folder / "c.safetensors", build_model(MLP, (1, 2, 2), 2), NetworkSettings(MLP, (1, 2, 2), 2), metadata
    )


def read_checkpoint(folder):
    path = folder / "c.safetensors"
    metadata, origin = read_checkpoint_metadata(path), read_provenance(path)
    return metadata, origin, dict(load_checkpoint(path).state_dict())


def state_of(update):
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]}
    return TrainingState(update, {"w": torch.arange(6.0) + update}, optimizer, torch.ones(2, dtype=torch.float64))


def write_state_and_log(folder):
    (folder / "log.csv").write_text("step,epoch,loss\n0,0.0,2.5\n")
    write_state(folder / "s.safetensors", state_of(3), log_sha256=sha256_of(folder / "log.csv"))


def read_state_and_log(folder):
    check_log(folder / "log.csv", folder / "s.safetensors")
    return vars(read_state(folder / "s.safetensors")), (folder / "log.csv").read_bytes()


def write_unfinished(folder):
    unfinished = Unfinished(folder, "key")
    for update in (1, 2):
        unfinished.keep(state_of(update))


def read_unfinished(folder):
    """The state that training goes on from, which is an earlier one, or none, where a later one is damaged."""
    latest = Unfinished(folder, "key").latest()
    if latest is None or latest.update == 1:
        raise UserError("an earlier state")
    return vars(latest)


def write_claims_and_page(folder):
    settings = ClaimSettings(0.95, 8, 0.9, {})
    write_claims(folder / "claims.json", folder / "claims.html", [], settings, provenance({}, []))


def write_pages(folder):
    (folder / "config.json").write_text("{}\n")
    write_page(folder / "study.html", "<html>\n<p>settings</p>\n</html>\n", [folder / "config.json"])


def read_pages(folder):
    check_page(folder / "study.html", [folder / "config.json"], "describe it again")
    return (folder / "study.html").read_bytes(), (folder / "config.json").read_bytes()


def read_tables(folder):
    check_table(folder / "t.parquet")
    return read_table(folder / "t.parquet").to_csv(), (folder / "t.csv").read_bytes()


def read_figures(folder):
    check_picture(folder / "f.png", folder / "f.pdf")
    return (folder / "f.png").read_bytes(), (folder / "f.pdf").read_bytes()


# (writes files into a folder, reads them as the commands do)
KINDS = {schema: (write_file_of(schema), read_file_of(schema)) for schema in LAYOUTS} | {
    "checkpoint": (write_checkpoint, read_checkpoint),
    "state and log": (write_state_and_log, read_state_and_log),
    "unfinished segment": (write_unfinished, read_unfinished),
    "table": (lambda folder: write_table(TABLE, folder / "t.csv", folder / "t.parquet"), read_tables),
    "figure": (
        lambda folder: save_figure(message_figure("nothing"), folder / "f.png", folder / "f.pdf", 30),
        read_figures,
    ),
    "claims": (write_claims_and_page, lambda folder: read_claims(folder / "claims.json", folder / "claims.html")),
    "page": (write_pages, read_pages),
}


def damaged(content, draw):
    """The content with one bit flipped, or cut."""
    if draw.random() < 0.1:
        return content[: draw.randrange(len(content))]
    changed = bytearray(content)
    changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def flips(kind, folder, count, seed):
    """(file, what reading said or None where it read, whether that is what was written) of each of so many flips."""
    write, read = KINDS[kind]
    write(folder)
    draw, expected = random.Random(f"{kind} {seed}"), exact(read(folder))
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        for _ in range(count):
            file.write_bytes(damaged(content, draw))
            try:
                yield file, None, exact(read(folder)) == expected
            except UserError as error:
                yield file, str(error), False
        file.write_bytes(content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_one_line_or_changes_nothing(kind, tmp_path: Path):
    seen = 0
    for file, said, same in flips(kind, tmp_path, FLIPS, seed=0):
        seen += 1
        assert same or said, f"{file.name} was read as if it were right"
        assert said is None or "\n" not in said
    assert seen >= FLIPS
