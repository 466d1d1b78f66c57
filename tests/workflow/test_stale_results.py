"""A report never mixes stale and fresh: result files that the config does not ask for stop it, in one line."""

import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from PIL import Image

from mcoherence.audit.result_checks import result_files
from mcoherence.files.tables import provenance_of_table, write_table
from tests.workflow.test_reruns import Edit, applied

pytestmark = [pytest.mark.slow, pytest.mark.apart, pytest.mark.one_in(3)]
RUN = "runs/digits/cnn/half_random"


def described(study, config):
    """What the description of the study, which the report waits for, answers for a config."""
    command = [
        sys.executable, "-m", "workflow_scripts.describe_study", "--settings", json.dumps({"config": config}),
        "--results", "results/miniature", "--claims", "results/miniature/claims.json",
        "--html", study.folder / "study.html", "--config", study.folder / "c.json",
        "--dictionary", study.folder / "d.csv", "--images", "results/miniature/data/digits/images.h5",
        "--tables", "results/miniature/tables/accuracy.parquet",
        "--figures", "results/miniature/figures/easy_hard.png", "results/miniature/figures/training_curves.png",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(study.folder)}
    return subprocess.run(command, cwd=study.folder, env=environment, capture_output=True, text=True, check=False)


def config_of(study):
    return json.loads((study.results / "config.json").read_text())


def test_an_intact_study_says_how_many_files_were_checked(study):
    page = (study.results / "study.html").read_text()
    assert f"The {len(result_files(config_of(study)))} result files" in page


def test_files_of_other_settings_than_the_configs_stop_the_report(study):
    config = config_of(study)
    config["optimizers"]["rm3"]["lr"] = 0.2
    answer = described(study, config)
    assert answer.returncode == 1
    assert "made with optimizer.lr 0.3, expected 0.2 as the config asks for" in answer.stderr


def test_files_of_other_code_than_the_present_stop_the_report(study):
    with applied(Edit("", "mcoherence/optim/rm3.py", "", "\nUNUSED = 1\n", {}), study.folder):
        answer = described(study, config_of(study))
    assert (answer.returncode, len(answer.stderr.strip().splitlines())) == (1, 1)
    assert "rm3/full/seed0/checkpoints/step0.safetensors: made by other code than the present one" in answer.stderr


def test_an_old_file_or_another_checkpoint_in_the_place_of_one_is_refused(study_copy):
    config = config_of(study_copy)
    assert described(study_copy, config).returncode == 0
    run, other = (study_copy.results / RUN / name / "full/seed0" for name in ("rm3", "sgd"))
    shutil.copy2(other / "evaluation.h5", run / "evaluation.h5")
    answer = described(study_copy, config)
    assert answer.returncode == 1
    assert len(answer.stderr.strip().splitlines()) == 1
    assert "rm3/full/seed0/evaluation.h5: " in answer.stderr
    assert "expected the 7 checkpoints of its run, no others" in answer.stderr


def test_a_checkpoint_of_other_settings_and_one_with_other_weights_are_refused(study_copy):
    config = config_of(study_copy)
    run, other = (study_copy.results / RUN / name / "full/seed0/checkpoints" for name in ("rm3", "sgd"))
    kept = (run / "step12.safetensors").read_bytes()
    shutil.copy2(other / "step12.safetensors", run / "step12.safetensors")
    answer = described(study_copy, config)
    assert "step12.safetensors: made with optimizer." in answer.stderr
    (run / "step12.safetensors").write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    answer = described(study_copy, config)
    assert answer.returncode == 1
    assert "step12.safetensors: damaged (its tensors are not as they were written)" in answer.stderr
    assert "; delete the file and run again" in answer.stderr


def test_a_table_edited_by_hand_is_refused_and_so_is_a_figure_of_another_table(study_copy):
    config, table = config_of(study_copy), study_copy.results / "tables/accuracy.parquet"
    kept, columns, origin = table.read_bytes(), pd.read_parquet(table), provenance_of_table(table)
    csv = table.with_suffix(".csv")
    written = csv.read_text()
    csv.write_text(written.replace("0.5", "0.6", 1))
    assert "accuracy.csv: changed since it was made" in described(study_copy, config).stderr
    csv.write_text(written)
    columns.assign(accuracy=1.0).to_parquet(table, index=False)
    assert "no table of this study" in described(study_copy, config).stderr
    # With a seal of its own, it is not the one that claims and figures were made from.
    write_table(columns.assign(accuracy=1.0), csv, table, origin)
    assert "made from another results/miniature/tables/accuracy.parquet than" in described(study_copy, config).stderr
    csv.write_text(written)
    table.write_bytes(kept)
    figure = study_copy.results / "figures/easy_hard.png"
    with Image.open(figure) as image:
        image.load()
        image.save(figure)  # says no more what it was drawn from
    answer = described(study_copy, config)
    assert "easy_hard.png: missing, damaged or no figure of this study" in answer.stderr
    assert (answer.returncode, len(answer.stderr.strip().splitlines())) == (1, 1)


def test_claims_edited_before_the_report_is_written_stop_it(study_copy):
    """The page about the study is up to date, so that only what writes the report can notice."""
    page = study_copy.results / "claims.html"
    stamp = page.stat()
    page.write_text(page.read_text().replace("not supported", "supported"))
    os.utime(page, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (study_copy.results / "report.html").unlink()
    answer = study_copy.run("--cores", "1", "--quiet", "reason")
    assert answer.returncode != 0
    assert "claims.html: changed since it was made" in answer.stdout
    assert not (study_copy.results / "report.html").exists()
