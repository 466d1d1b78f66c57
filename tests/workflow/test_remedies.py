"""What the lines about damaged files of a study advise, followed to the end: the study is then as it was."""

import re
import shutil

import pytest

from mcoherence.command.main import main

pytestmark = [pytest.mark.slow, pytest.mark.one_in(3)]

RUNS = "runs/digits/cnn/half_random"
LEFT_OUT = {"logs", "benchmarks", "code", "checks", "study.html", "index.html", "report.html"}  # times are in them
BOTH_FORMS = {".csv": ".parquet", ".parquet": ".csv"}


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def damage(results):
    """A file of every kind, each in a way of its own; what a line about it begins with, and what it says."""
    sgd, rm3 = (results / f"{RUNS}/{name}/full/seed0" for name in ("sgd", "rm3"))
    flipped(sgd / "checkpoints/step12.safetensors")
    (sgd / "training_log.csv").write_text("step,epoch,loss\n")
    shutil.copy2(sgd / "evaluation.h5", rm3 / "evaluation.h5")
    flipped(results / "figures/easy_hard.pdf")
    flipped(results / "tables/accuracy.csv")
    flipped(results / "claims.html")
    flipped(results / "tables/dictionary.csv")
    flipped(results / "index.html")
    return {
        "checkpoints/step12.safetensors": "damaged",
        "sgd/full/seed0/training_log.csv": "expected the rows of update6.safetensors's digest",
        "rm3/full/seed0/evaluation.h5": "expected the 7 checkpoints of its run, no others",
        "easy_hard.pdf": "changed since it was drawn, expected the one that easy_hard.png names",
        "accuracy.csv": "changed since it was made, expected the rows that were written",
        "claims.html": "changed since it was made, expected the page of claims.json",
        "dictionary.csv": "changed since it was made",
        "index.html": "changed since it was made",
    }


def contents(results):
    """Path -> bytes of all that two runs of a study have in common."""
    paths = (path for path in results.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in paths if not LEFT_OUT & set(path.relative_to(results).parts)}


def follow(line):
    """Do what a line advises."""
    path, advice = re.match(r"(.*?): .*; (.*)$", line).groups()
    from pathlib import Path

    path = Path(path)
    if advice == "delete claims.json and claims.html and run again":
        named = [path.with_name("claims.json"), path.with_name("claims.html")]
    elif advice == "delete both forms of the table and run again":
        named = [path, path.with_suffix(BOTH_FORMS[path.suffix])]
    else:
        assert advice == "delete the file and run again", line
        named = [path]
    for one in named:
        one.unlink(missing_ok=True)


def test_a_study_is_as_it_was_once_the_advice_of_every_line_was_followed(study_copy, capsys):
    results = study_copy.results
    before = contents(results)
    expected = damage(results)
    assert main(["verify", str(results)]) == 1
    lines = capsys.readouterr().out.splitlines()
    for name, words in expected.items():
        assert any(f"{name}: " in line and words in line for line in lines), (name, lines)
    for line in lines:
        follow(line)
    answer = study_copy.run("--cores", "2", "--quiet", "reason")
    assert answer.returncode == 0, answer.stdout[-5000:]
    assert main(["verify", str(results)]) == 0, capsys.readouterr().out
    assert contents(results) == before
