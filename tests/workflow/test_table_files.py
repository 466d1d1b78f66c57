"""A table reads the files that its entry names and no other: what a re-run of it follows is what it is made from."""

import importlib
import json
from pathlib import Path

import h5py
import pytest
import yaml

from mcoherence.study import catalogue, settings
from mcoherence.study.runs import runs_of_grids
from mcoherence.tables import inputs

MINIATURE = yaml.safe_load(Path(__file__).with_name("miniature.yaml").read_text())
# The tables of the miniature study, and those that need nothing beyond its runs and tables.
EXPERIMENTS = [*MINIATURE["experiments"], "bound", "toy"]
TABLES = list(catalogue.tables_of({"experiments": EXPERIMENTS}))


@pytest.fixture
def opened(monkeypatch):
    """The paths of all HDF5 and Parquet files that are opened, as they are given."""
    inputs.read_once.cache_clear()  # a job makes one table
    paths: list[str] = []

    class RecordingFile(h5py.File):
        def __init__(self, name, *arguments, **options):
            paths.append(str(name))
            super().__init__(name, *arguments, **options)

    read_bytes = Path.read_bytes

    def recording_read(path):
        if path.suffix == ".parquet":
            paths.append(str(path))
        return read_bytes(path)

    monkeypatch.setattr(h5py, "File", RecordingFile)
    monkeypatch.setattr(Path, "read_bytes", recording_read)
    return paths


@pytest.mark.parametrize("name", TABLES)
def test_a_table_opens_the_files_that_its_entry_names(study, monkeypatch, opened, name):
    config = json.loads((study.results / "config.json").read_text())
    monkeypatch.chdir(study.folder)
    own = settings.table_settings(config, name)
    make = importlib.import_module(f"mcoherence.tables.{name}").table
    table = make(own["results"], runs_of_grids(own["grids"]), own["noise"], **own["own"])
    assert len(table) > 0
    assert set(opened) == set(catalogue.files_of_table(config, name))
