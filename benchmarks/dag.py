"""Seconds that Snakemake takes to plan a study of many jobs, and to find that a finished one needs nothing.

    python benchmarks/dag.py [--seeds 26] [--folder FOLDER] [--profile]

The study is the label-noise experiment of `whole_study.yaml` at ten noise levels: two networks, three optimisers,
`--seeds` seeds; 26 of them make 4,967 jobs. These are timed, each in a process of its own:

    parse       the rules, no DAG (`snakemake --list`), less Snakemake's own start (`snakemake --version`)
    plan        a dry run of everything
    bare        a dry run of three rules without a function, of as many runs, jobs of a run and checkpoints
    begin       a run, until it has found out which jobs are to run and the first may begin
    records     a run of the finished study, which finds nothing to do by Snakemake's records alone
    first       the same with the comparison of what the files say of themselves, for which each of them is read
    again       the same once more: what was read is on record

What a finished study leaves is made without training, in some minutes: files of hardly any content which say what made
them, and Snakemake's records of them. With `--folder` it is kept, and found there the next time.

    --profile   also the seconds inside this project's code and the rest, from cProfile (which slows everything down)
"""

import argparse
import html
import json
import os
import pstats
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure
from safetensors.numpy import save

from mcoherence.audit.origins import says_its_origin
from mcoherence.figures.saving import save_figure
from mcoherence.files.canonical import canonical_json
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.files.json_csv import write_json
from mcoherence.files.provenance import Provenance, digest_of
from mcoherence.files.tables import write_table
from workflow_scripts.why import planned_rows

ROOT = Path(__file__).parents[1]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
CONFIG = ("--configfile", "many.json", "--replace-workflow-config")
LEVELS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 100)


def config(seeds: int) -> dict[str, Any]:
    """The whole config of a study of ten noise levels and so many seeds."""
    whole: dict[str, Any] = yaml.safe_load((ROOT / "benchmarks/whole_study.yaml").read_text())
    labels = {f"noise{level}": {"fraction": level / 100} for level in LEVELS}
    names = whole["label_noise"] | {"labels": list(labels), "seeds": list(range(seeds))}
    return whole | {"study": "many", "experiments": ["label_noise"], "labels": labels, "label_noise": names}


def snakemake(folder: Path, *arguments: str, profile: Path | None = None, first: str = "") -> tuple[float, str]:
    """Wall seconds of one call of Snakemake on the study in `folder`, and what it printed; `first` is run before."""
    profiler = ["-m", "cProfile", "-o", str(profile)] if profile else []
    program = ["-c", f"{first}\nfrom snakemake.cli import main\nmain()"] if first else [*profiler, str(SNAKEMAKE)]
    command = [sys.executable, *program, "--snakefile", str(ROOT / "Snakefile")]
    started = time.perf_counter()
    answer = subprocess.run(
        [*command, *CONFIG, *arguments],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, check=True, capture_output=True,
    )  # fmt: skip
    return time.perf_counter() - started, answer.stdout + answer.stderr


BARE = """
CHECKPOINTS = expand("runs/{{run}}/step{step}", step=range(22))

rule all:
    input: expand("runs/{run}/{result}", run=range(RUNS), result=("evaluated", "measured"))

rule train:
    output: checkpoints=CHECKPOINTS, state="runs/{run}/state", log="runs/{run}/log"
    resources: mem_mb=1000, runtime=10
    shell: "touch {output}"

rule evaluate:
    input: CHECKPOINTS
    output: "runs/{run}/evaluated"
    resources: mem_mb=1000, runtime=10
    shell: "touch {output}"

rule measure:
    input: CHECKPOINTS
    output: "runs/{run}/measured"
    resources: mem_mb=1000, runtime=10
    shell: "touch {output}"
"""


def bare(folder: Path, seeds: int) -> float:
    """Wall seconds of a dry run of a workflow that has runs and checkpoints as ours, and nothing else."""
    of_study = config(seeds)
    runs = seeds * len(LEVELS) * len(of_study["label_noise"]["models"]) * len(of_study["label_noise"]["optimizers"])
    folder.mkdir(exist_ok=True)
    (folder / "Snakefile").write_text(BARE.replace("RUNS", str(runs)))
    command = [str(SNAKEMAKE), "--dry-run", "--forceall", "--quiet", "all"]
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - started


def until_it_begins(folder: Path) -> float:
    """Wall seconds of a run of everything until Snakemake has its jobs; it is ended before one of them begins."""
    command = [sys.executable, "-c", f"{END_AT_THE_SCHEDULER}\nfrom snakemake.cli import main\nmain()"]
    command += ["--snakefile", str(ROOT / "Snakefile"), *CONFIG, "--cores", "1", "--forceall", "--nolock"]
    started = time.perf_counter()
    answer = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, capture_output=True
    )
    seconds = time.perf_counter() - started
    assert answer.returncode == BEGUN, answer.stdout + answer.stderr
    return seconds


BEGUN = 77
END_AT_THE_SCHEDULER = f"""
import os
from snakemake.scheduling.job_scheduler import JobScheduler

JobScheduler.schedule = lambda self: os._exit({BEGUN})
"""
WITHOUT_COMPARISON = "from workflow_scripts.comparing import Comparison\nComparison.install = lambda self: ''"
# Writes Snakemake's record of each job in place of comparing with it.
WRITE_RECORDS = """
from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord, PersistenceBase

def has_metadata(self, job):
    for file in job.output:
        self._write_record(self._get_key(file), MetadataRecord(
            rule=job.rule.name, input=self._input(job), params=self._params(job), code=self._code(job.rule),
            software_stack_hash=self._software_stack_hash(job), record_format_version=RECORD_FORMAT_VERSION,
        ))
    return True

PersistenceBase.has_metadata = has_metadata
"""


def finish(folder: Path) -> None:
    """Leave in `folder` what the finished study would: files that say what made them, and Snakemake's records."""
    os.chdir(folder)
    digests: dict[str, str] = {}
    for row in planned_rows(list(CONFIG)):
        words = shlex.split(row["command"])
        settings, code = (words[words.index(name) + 1] if name in words else "" for name in ("--settings", "--code"))
        inputs = {path: digests[path] for path in row["input"] if path in digests}
        origin = Provenance(json.loads(settings or "{}"), inputs, "", {}, "cpu", code=code)
        for path in map(Path, row["output"]):
            write(path, origin)
            if says_its_origin(str(path)):
                digests[str(path)] = digest_of(path)
    snakemake(folder, "--dry-run", "--quiet", "all", first=WRITE_RECORDS + WITHOUT_COMPARISON)


def write(path: Path, origin: Provenance) -> None:
    """A file without content that says what made it, if it is of such a kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    attributes = origin.as_attributes()
    if path.suffix == ".h5":
        write_hdf5(path, "mcoherence/nothing/1", {}, attributes)
    elif path.suffix == ".safetensors":
        path.write_bytes(save({"w": np.zeros(1)}, metadata={"provenance": canonical_json(attributes)}))
    elif path.suffix == ".parquet":
        write_table(pd.DataFrame({"x": [0]}), path.with_suffix(".csv"), path, origin)
    elif path.suffix == ".png":
        save_figure(Figure(), path, path.with_suffix(".pdf"), 20, origin)
    elif path.name == "claims.json":
        write_json(path, {"provenance": attributes})
    elif path.name == "study.html":
        path.write_text(f'<p hidden id="provenance">{html.escape(canonical_json(attributes))}</p>')
    else:
        path.touch()


def share_of_own_code(profile: Path) -> tuple[float, float]:
    """Seconds in functions of this project and what they call, and in all, of one profile."""
    stats = pstats.Stats(str(profile))
    own = 0.0
    for (file, _, _), (*_, callers) in stats.stats.items():  # type: ignore[attr-defined]
        if str(ROOT) in file:  # counted where it is entered from elsewhere
            own += sum(times[3] for (caller, _, _), times in callers.items() if str(ROOT) not in caller)
    return own, stats.total_tt  # type: ignore[attr-defined]


def main() -> None:
    """Make the study, time each question, and print a row per answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=26)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "many.json").write_text(json.dumps(config(arguments.seeds)))
        start = min(snakemake(folder, "--version")[0] for _ in range(5))
        rows = [("parse", min(snakemake(folder, "--list")[0] for _ in range(5)) - start)]
        rows.append(("plan", snakemake(folder, "--dry-run", "--forceall", "--quiet", "all")[0]))
        rows += [("bare", bare(folder / "bare", arguments.seeds)), ("begin", until_it_begins(folder))]
        if not (folder / "results").exists():
            finish(folder)
        (folder / "results/many/code/origins.json").unlink(missing_ok=True)
        left = snakemake(folder, "--dry-run", first=WITHOUT_COMPARISON)[1]  # else it would train for hours
        assert "Nothing to be done" in left, left[-2000:]
        for name, first in (("records", WITHOUT_COMPARISON), ("first", ""), ("again", "")):
            seconds, answer = snakemake(folder, "--cores", "2", first=first)
            assert "Nothing to be done" in answer, answer[-2000:]
            rows.append((name, seconds))
        for name, seconds in rows:
            print(f"{name:10} {seconds:7.2f} s")
        if arguments.profile:
            snakemake(folder, "--dry-run", "--forceall", "--quiet", "all", profile=folder / "plan.prof")
            own, total = share_of_own_code(folder / "plan.prof")
            print(f"plan, profiled: {own:.1f} s of {total:.1f} s in this project's functions")


if __name__ == "__main__":
    main()
