"""The command that draws every figure: a module and tables in, PNG and PDF out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from mcoherence.audit.origins import read_provenance
from mcoherence.data.store import IMAGES_SCHEMA
from mcoherence.figures import coherence_by_loss
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.files.provenance import digest_of, provenance
from mcoherence.files.tables import write_table
from mcoherence.tables.columns import RUN_COLUMNS
from workflow_scripts import draw

ROOT = Path(__file__).parents[3]
SETTINGS = {"optimizer_colors": {"sgd": "#0072b2"}, "reference_optimizer": "sgd", "confidence": 0.9, "dpi": 60}


def command_line(figure, tables=(), images=()):
    return [
        *("--module", f"mcoherence.figures.{figure}", "--settings", json.dumps(SETTINGS)),
        *("--tables", *map(str, tables), "--images", *map(str, images)),
        *("--png", "out/f.png", "--pdf", "out/f.pdf"),
    ]


def call(monkeypatch, *arguments, **options):
    monkeypatch.setattr(sys, "argv", ["draw", *command_line(*arguments, **options)])
    draw.main()


def run_of_seed(seed):
    names = {"dataset": "digits", "model": "mlp", "labels": "clean", "noise": 0.0, "optimizer": "sgd", "subset": "full"}
    assert [*names, "seed"] == list(RUN_COLUMNS)
    return names | {"seed": seed}


def test_it_draws_what_the_function_of_the_module_draws(tmp_path, monkeypatch):
    """Another process, so another hash seed: the bytes must not depend on it."""
    rows = [run_of_seed(seed) | {"step": step} for seed in (0, 1, 2) for step in (0, 1, 10)]
    coherence = pd.DataFrame(rows).assign(group="train", layer="model", m_coherence=np.linspace(9, 1, 9))
    accuracy = pd.DataFrame(rows).assign(part="train", loss=np.linspace(2, 0.1, 9))
    write_table(coherence, tmp_path / "coherence.csv", tmp_path / "coherence.parquet")
    write_table(accuracy, tmp_path / "accuracy.csv", tmp_path / "accuracy.parquet")
    sources = [Path("accuracy.parquet"), Path("coherence.parquet")]
    subprocess.run(
        [sys.executable, "-m", "workflow_scripts.draw", *command_line("coherence_by_loss", sources)],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True,
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    figure = coherence_by_loss.draw({"coherence": coherence, "accuracy": accuracy}, FigureStyle(**SETTINGS))
    save_figure(figure, tmp_path / "f.png", tmp_path / "f.pdf", 60, provenance(SETTINGS, sources))
    for kind in ("png", "pdf"):
        assert (tmp_path / f"out/f.{kind}").read_bytes() == (tmp_path / f"f.{kind}").read_bytes()


def test_a_figure_of_images_finds_the_store_of_each_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store, table = Path("data/digits/images.h5"), Path("difficulty.parquet")
    write_hdf5(store, IMAGES_SCHEMA, {"train/images": np.zeros((4, 1, 3, 3), np.uint8)}, {"class_names": ["a", "b"]})
    examples = {"example": range(4), "label": [0, 1, 0, 1], "original": 0, "rank": [0.1, 0.2, 0.3, 0.4]}
    write_table(pd.DataFrame({**run_of_seed(0), **examples, "diverged": False}), Path("difficulty.csv"), table)
    call(monkeypatch, "examples", [table], images=[store])
    assert read_provenance(Path("out/f.png")).inputs == {str(path): digest_of(path) for path in (table, store)}
