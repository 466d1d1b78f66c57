"""Where the time of a whole study goes: what share of wall time x cores trains, evaluates and measures, and what not.

    python benchmarks/pipeline.py [--json FILE] [--cores 2] [--folder DIR] [--configfile FILE ...]

The study is run by Snakemake in an empty folder (DIR, else a temporary one). Seconds of jobs are those of Snakemake's
benchmark files. What a job of a stage spends before it works, in starting Python and importing, is measured apart, as
the median of starting its module ROUNDS times, as a copy where the study's jobs were copies (operational.fork_jobs).
The rest of wall time x cores is Snakemake itself and cores that wait for a job.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from mcoherence.audit.job_records import JobRecord, read_record
from workflow_scripts.jobs.copy_client import offer

ROOT = Path(__file__).parents[1]
ROUNDS = 5
WORKING = {  # stage: its module; these stages are what a study is for
    "train": "train",
    "evaluate": "evaluate",
    "measure_coherence": "measure_coherence",
    "measure_sample_size": "measure_coherence",
    "measure_contributions": "measure_contributions",
    "measure_difficulty_coherence": "measure_difficulty_coherence",
}


@dataclass(frozen=True)
class Row:
    """One line of the table: what, jobs, seconds of them all, and their share of wall time x cores."""

    what: str
    jobs: int
    seconds: float
    share: float


def run_study(folder: Path, cores: int, configfiles: list[str]) -> float:
    """Wall seconds of the whole study."""
    command = [str(Path(sys.executable).with_name("snakemake")), "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--cores", str(cores), "--quiet", "all"]
    if configfiles:
        command += ["--configfile", *(str(Path(file).resolve()) for file in configfiles)]
    started = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT)
    return time.perf_counter() - started


def start_seconds(module: str, as_copy: bool) -> float:
    """Median wall seconds of starting a command-line module, up to reading its options."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # as Snakemake sets it for jobs of one thread
    command = ["python", "-m", "workflow_scripts.jobs.launch", "--device", "cpu", "--"]
    command += ["python", "-m", f"workflow_scripts.{module}", "--help"]
    if as_copy:
        offer(environment)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)  # starts what is copied
    measured = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        measured.append(time.perf_counter() - started)
    return statistics.median(measured)


def records_of_jobs(folder: Path) -> dict[str, list[JobRecord]]:
    """Rule -> the record of each of its jobs, of the only study in `folder`."""
    (results,) = (found.parent for found in folder.glob("results/*/benchmarks"))
    records: dict[str, list[JobRecord]] = {}
    for path in sorted((results / "benchmarks").rglob("*.tsv")):
        job = path.relative_to(results / "benchmarks").with_suffix("")
        records.setdefault(job.parts[0], []).append(read_record(results, job))
    return records


def stage_of(rule: str) -> str:
    """The stage that a rule belongs to: segments and parts are of the stage that they are segments and parts of."""
    if rule.startswith("train"):
        return "train"
    if rule.startswith("draw_"):
        return "drawing"
    part = rule.removesuffix("_part")
    return part if part in WORKING else {"tabulate": "tables"}.get(rule, "everything else")


def table(jobs: dict[str, list[JobRecord]], starts: dict[tuple[str, bool], float], capacity: float) -> list[Row]:
    """The rows: work of each stage, starts, the other jobs, and what no job accounts for."""
    stages: dict[str, list[JobRecord]] = {}
    for rule, records in jobs.items():
        stages.setdefault(stage_of(rule), []).extend(records)
    work, begun = {}, []
    for stage in WORKING.keys() & stages.keys():
        begin = [min(starts[WORKING[stage], one.is_copy], one.seconds) for one in stages[stage]]
        work[stage] = (len(stages[stage]), sum(one.seconds for one in stages[stage]) - sum(begin))
        begun += begin
    others = {
        stage: (len(records), sum(one.seconds for one in records))
        for stage, records in stages.items()
        if stage not in WORKING
    }
    rest = capacity - sum(one.seconds for records in stages.values() for one in records)
    lines = {stage: work[stage] for stage in WORKING if stage in work}
    lines |= {"starting Python, imports (of the above)": (len(begun), sum(begun)), **others}
    lines["Snakemake, cores that wait"] = (0, rest)
    return [Row(what, number, seconds, seconds / capacity) for what, (number, seconds) in lines.items()]


def main() -> None:
    """Run the study, and print and write where its time went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--configfile", nargs="*", default=[])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        wall = run_study(folder, arguments.cores, arguments.configfile)
        jobs = records_of_jobs(folder)
    kinds = {(WORKING[stage_of(rule)], one.is_copy) for rule in jobs if stage_of(rule) in WORKING for one in jobs[rule]}
    starts = {kind: start_seconds(*kind) for kind in sorted(kinds)}
    capacity = wall * arguments.cores
    rows = table(jobs, starts, capacity)

    print(f"wall time {wall:.1f} s on {arguments.cores} cores, load {os.getloadavg()}")
    for row in rows:
        print(f"{row.what:42} {row.jobs or '':>5} {row.seconds:9.1f} s {100 * row.share:6.1f} %")
    work = sum(row.share for row in rows if row.what in WORKING)
    print(f"not training, evaluating or measuring: {100 * (1 - work):.1f} %")
    named = {f"{module}{', a copy' if is_copy else ''}": start for (module, is_copy), start in starts.items()}
    for name, seconds in named.items():
        print(f"starting {name}: {seconds:.2f} s")
    if arguments.json:
        content = {"wall": wall, "cores": arguments.cores, "load": os.getloadavg()[0]}
        content |= {"rows": [asdict(row) for row in rows], "starts": named}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
