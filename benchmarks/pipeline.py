"""Where the time of a whole study goes: what share of wall time x cores trains, evaluates and measures, and what not.

    python benchmarks/pipeline.py [--json FILE] [--cores 2] [--folder DIR] [--configfile FILE ...]

The study is run by Snakemake in an empty folder (DIR, else a temporary one). Seconds of jobs are those of Snakemake's
benchmark files. What a job of a stage spends before it works, in starting Python and importing, is measured apart, as
the median of starting its module ROUNDS times; so is the processor time of that, which other work on the machine
changes less. The rest of wall time x cores is Snakemake itself and cores that wait for a job.
"""

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROUNDS = 3
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


def run_study(folder: Path, cores: int, configfiles: list[str]) -> tuple[float, float]:
    """(wall seconds, processor seconds of all processes) of the whole study."""
    command = [str(Path(sys.executable).with_name("snakemake")), "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--cores", str(cores), "--quiet", "all"]
    if configfiles:
        command += ["--configfile", *(str(Path(file).resolve()) for file in configfiles)]
    before, started = processor_seconds(), time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT)
    return time.perf_counter() - started, processor_seconds() - before


def processor_seconds() -> float:
    """Processor time of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start_seconds(module: str) -> tuple[float, float]:
    """Median (wall seconds, processor seconds) of starting a command-line module, up to reading its options."""
    measured = []
    for _ in range(ROUNDS):
        before, started = processor_seconds(), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", f"workflow_scripts.{module}", "--help"],
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        measured.append((time.perf_counter() - started, processor_seconds() - before))
    walls, processors = zip(*measured, strict=True)
    return statistics.median(walls), statistics.median(processors)


def seconds_of_jobs(folder: Path) -> dict[str, list[float]]:
    """Rule -> wall seconds of each of its jobs, from Snakemake's benchmark files of the only study in `folder`."""
    (benchmarks,) = folder.glob("results/*/benchmarks")
    seconds: dict[str, list[float]] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        with path.open() as file:
            row = next(csv.DictReader(file, delimiter="\t"))
        rule = path.relative_to(benchmarks).parts[0].removesuffix(".tsv")
        seconds.setdefault(rule, []).append(float(row["s"]))
    return seconds


def stage_of(rule: str) -> str:
    """The stage that a rule belongs to: segments and parts are of the stage that they are segments and parts of."""
    if rule.startswith("train"):
        return "train"
    if rule.startswith("draw_"):
        return "drawing"
    part = rule.removesuffix("_part")
    return part if part in WORKING else {"tabulate": "tables"}.get(rule, "everything else")


def table(jobs: dict[str, list[float]], starts: dict[str, tuple[float, float]], capacity: float) -> list[Row]:
    """The rows: work of each stage, starts, the other jobs, and what no job accounts for."""
    stages: dict[str, list[float]] = {}
    for rule, seconds in jobs.items():
        stages.setdefault(stage_of(rule), []).extend(seconds)
    work, begun = {}, []
    for stage in WORKING.keys() & stages.keys():
        start = starts[WORKING[stage]][0]
        work[stage] = (len(stages[stage]), sum(max(0.0, one - start) for one in stages[stage]))
        begun += [min(start, one) for one in stages[stage]]
    others = {stage: (len(seconds), sum(seconds)) for stage, seconds in stages.items() if stage not in WORKING}
    rest = capacity - sum(sum(seconds) for seconds in stages.values())
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
        wall, processor = run_study(folder, arguments.cores, arguments.configfile)
        jobs = seconds_of_jobs(folder)
    modules = {WORKING[stage] for stage in map(stage_of, jobs) if stage in WORKING}
    starts = {module: start_seconds(module) for module in sorted(modules)}
    capacity = wall * arguments.cores
    rows = table(jobs, starts, capacity)

    print(
        f"wall time {wall:.1f} s on {arguments.cores} cores, processor time {processor:.1f} s, load {os.getloadavg()}"
    )
    for row in rows:
        print(f"{row.what:42} {row.jobs or '':>5} {row.seconds:9.1f} s {100 * row.share:6.1f} %")
    work = sum(row.share for row in rows if row.what in WORKING)
    print(f"not training, evaluating or measuring: {100 * (1 - work):.1f} %")
    for module, (seconds, of_processor) in starts.items():
        print(f"starting {module}: {seconds:.2f} s, processor time {of_processor:.2f} s")
    if arguments.json:
        content = {"wall": wall, "processor": processor, "cores": arguments.cores, "load": os.getloadavg()[0]}
        content |= {"rows": [asdict(row) for row in rows], "starts": starts}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
