"""Public readers and writers take a path as text, or as anything that stands for one, as they take a Path."""

import os

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from mcoherence.audit.origins import read_provenance
from mcoherence.claims.page import write_claims
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.stored import read_claims
from mcoherence.data.loading import image_loader
from mcoherence.data.preparation import prepare_images
from mcoherence.data.sources import Source, SourcePart, open_source
from mcoherence.data.store import read_class_names, read_images, read_labels, read_targets
from mcoherence.errors import UserError
from mcoherence.figures.saving import save_figure
from mcoherence.files.hdf5 import read_attributes, write_hdf5
from mcoherence.files.json_csv import read_sealed_json, write_sealed_json
from mcoherence.files.provenance import provenance
from mcoherence.files.tables import read_table, write_table
from mcoherence.models.build import build_model
from mcoherence.models.checkpoints import NetworkSettings, load_checkpoint, read_checkpoint_metadata, save_checkpoint
from mcoherence.models.factories import load_weights
from mcoherence.study.config_files import read_config


class Entry:
    """What stands for a path and is neither a Path nor text, as an entry of `os.scandir` does."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return os.fspath(self.path)

    def __str__(self):
        return os.fspath(self.path)


@pytest.fixture(params=[str, Entry])
def given(request):
    """Makes of a Path what a user may hand over in its place."""
    return request.param


def test_images(tmp_path, given):
    part = SourcePart(np.random.default_rng(0).integers(0, 256, (6, 1, 4, 4), dtype=np.uint8), np.arange(6) % 2)
    path = given(tmp_path / "images.h5")
    prepare_images(path, Source(part, part, (1, 4, 4), ("a", "b")), {})
    assert np.array_equal(read_images(path, "test").images, part.items)
    assert np.array_equal(read_targets(path, "train"), part.targets)
    assert read_class_names(path) == ("a", "b")
    assert len(image_loader(path, np.arange(6), torch.device("cpu"))) == 6
    assert read_attributes(path)["schema"] == "mcoherence/images/2"


def test_a_folder_of_images_is_looked_for_below_the_folder_of_data(tmp_path, given):
    settings = {"source": "folder", "root": "photos", "size": 8, "resize": 8}
    with pytest.raises(UserError, match=f"{tmp_path}/photos"):
        open_source(settings, given(tmp_path), download=False)


@pytest.mark.parametrize("read", [read_labels, read_class_names, read_attributes, load_checkpoint])
def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path, read, given):
    with pytest.raises(UserError, match="not found"):
        read(given(tmp_path / "none.h5"))


def test_a_checkpoint(tmp_path, given):
    settings = {"architecture": "mlp", "hidden": [3]}
    model = build_model(settings, input_shape=(1, 2, 2), num_classes=2)
    path = given(tmp_path / "step0.safetensors")
    save_checkpoint(path, model, NetworkSettings(settings, (1, 2, 2), 2), {"step": 7})
    assert read_checkpoint_metadata(path)["step"] == 7
    assert isinstance(load_checkpoint(path), nn.Module)
    assert load_weights(model, path) == ""


def test_a_table_and_what_made_it(tmp_path, given):
    table, csv, parquet = pd.DataFrame({"a": [1, 2]}), given(tmp_path / "t.csv"), given(tmp_path / "t.parquet")
    origin = provenance({"seed": 3}, [])
    write_table(table, csv, parquet, origin)
    assert read_table(parquet).equals(table)
    assert (tmp_path / "t.csv").read_text() == "a\n1\n2\n"
    assert read_provenance(parquet) == origin


def test_an_hdf5_file(tmp_path, given):
    path = given(tmp_path / "x.h5")
    write_hdf5(path, "mcoherence/of_a_test/1", {"a": np.arange(3)}, {})
    assert read_attributes(path)["schema"] == "mcoherence/of_a_test/1"


def test_claims_and_other_sealed_json(tmp_path, given):
    write_claims(
        tmp_path / "claims.json", tmp_path / "claims.html", [], ClaimSettings(0.95, 8, 0.9, {}), provenance({}, [])
    )
    assert read_claims(given(tmp_path / "claims.json"), given(tmp_path / "claims.html"))["claims"] == []
    write_sealed_json(tmp_path / "a.json", {"a": 1})
    assert read_sealed_json(given(tmp_path / "a.json"), "make it again")["a"] == 1


def test_a_config(tmp_path, given):
    (tmp_path / "study.yaml").write_text("study: mine\n")
    assert read_config(given(tmp_path / "study.yaml")) == {"study": "mine"}


def test_figures(tmp_path, given):
    save_figure(Figure(), given(tmp_path / "empty.png"), given(tmp_path / "empty.pdf"), 20)
    assert (tmp_path / "empty.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "empty.pdf").read_bytes().startswith(b"%PDF")
