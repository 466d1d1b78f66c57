"""Public readers and writers take a path as text, as they take a Path."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mcoherence.data.loading import image_loader
from mcoherence.data.preparation import prepare_images
from mcoherence.data.sources import Source, SourcePart
from mcoherence.data.store import read_class_names, read_images, read_labels, read_targets
from mcoherence.errors import UserError
from mcoherence.files.hdf5 import read_attributes, write_hdf5
from mcoherence.files.tables import read_table, write_table
from mcoherence.models.build import build_model
from mcoherence.models.checkpoints import NetworkSettings, load_checkpoint, read_checkpoint_metadata, save_checkpoint
from mcoherence.models.factories import load_weights


def test_images(tmp_path):
    part = SourcePart(np.random.default_rng(0).integers(0, 256, (6, 1, 4, 4), dtype=np.uint8), np.arange(6) % 2)
    path = tmp_path / "images.h5"
    prepare_images(path, Source(part, part, (1, 4, 4), ("a", "b")), {})
    assert np.array_equal(read_images(str(path), "test").images, part.items)
    assert np.array_equal(read_targets(str(path), "train"), part.targets)
    assert read_class_names(str(path)) == ("a", "b")
    assert len(image_loader(str(path), np.arange(6), torch.device("cpu"))) == 6
    assert read_attributes(str(path))["schema"] == "mcoherence/images/2"


@pytest.mark.parametrize("read", [read_labels, read_class_names, read_attributes, load_checkpoint])
def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path, read):
    with pytest.raises(UserError, match="not found"):
        read(str(tmp_path / "none.h5"))


def test_a_checkpoint(tmp_path):
    settings = {"architecture": "mlp", "hidden": [3]}
    model = build_model(settings, input_shape=(1, 2, 2), num_classes=2)
    path = str(tmp_path / "step0.safetensors")
    save_checkpoint(path, model, NetworkSettings(settings, (1, 2, 2), 2), {"step": 7})
    assert read_checkpoint_metadata(path)["step"] == 7
    assert isinstance(load_checkpoint(path), nn.Module)
    assert load_weights(model, path) == ""


def test_a_table_and_an_hdf5_file(tmp_path):
    table = pd.DataFrame({"a": [1, 2]})
    write_table(table, tmp_path / "t.csv", tmp_path / "t.parquet")
    assert read_table(str(tmp_path / "t.parquet")).equals(table)
    write_hdf5(str(tmp_path / "x.h5"), "mcoherence/of_a_test/1", {"a": np.arange(3)}, {})
    assert read_attributes(str(tmp_path / "x.h5"))["schema"] == "mcoherence/of_a_test/1"
