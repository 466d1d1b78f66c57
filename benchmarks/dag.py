"""Seconds that Snakemake takes to plan a study of many jobs, and to find that a finished one needs nothing.

    python benchmarks/dag.py [--seeds 26] [--folder FOLDER] [--profile]

The study is the default one's label-noise experiment at ten noise levels: two networks, three optimisers, `--seeds`
seeds; 26 of them make 4,961 jobs and 40,859 files. Four things are timed, each in a process of its own:

    parse       the rules, no DAG (`snakemake --list`), less Snakemake's own start (`snakemake --version`)
    plan        a dry run of everything
    finished    a run of the finished study, which finds nothing to do

What a finished study leaves is made without training: its files, empty, and Snakemake's records of them, by its own
`--touch`, which takes ten minutes, most of them its pauses. With `--folder` it is kept, and found there the next time.

    --profile   also the seconds inside this project's code and the rest, from cProfile (which slows everything down)
"""

import argparse
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
LEVELS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 100)


def config(seeds: int) -> dict[str, object]:
    """A study of ten noise levels and so many seeds, merged over config.yaml."""
    labels = {f"noise{level}": {"fraction": level / 100} for level in LEVELS}
    names = {"models": ["mlp", "cnn"], "labels": list(labels), "seeds": list(range(seeds))}
    return {"study": "many", "experiments": ["label_noise"], "labels": labels, "label_noise": names}


def snakemake(folder: Path, *arguments: str, profile: Path | None = None) -> tuple[float, str]:
    """Wall seconds of one call of Snakemake on the study in `folder`, and what it printed."""
    profiler = ["-m", "cProfile", "-o", str(profile)] if profile else []
    command = [sys.executable, *profiler, str(SNAKEMAKE), "--snakefile", str(ROOT / "Snakefile")]
    started = time.perf_counter()
    answer = subprocess.run(
        [*command, "--configfile", "many.json", *arguments],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, check=True, capture_output=True,
    )  # fmt: skip
    return time.perf_counter() - started, answer.stdout + answer.stderr


def finish(folder: Path) -> None:
    """Leave in `folder` what the finished study would: its files, without content, and Snakemake's records of them."""
    rows = [line.split("\t") for line in snakemake(folder, "--summary")[1].splitlines()]
    for path in (folder / row[0] for row in rows if row[0].startswith("results/")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    # All at once: to choose among thousands of jobs anew for every one of them takes longer than to do them.
    snakemake(folder, "--cores", "1000", "--scheduler", "greedy", "--touch", "--forceall", "--quiet", "all")


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
        if not (folder / "results").exists():
            finish(folder)
        seconds, answer = snakemake(folder, "--cores", "2")
        assert "Nothing to be done" in answer, answer[-2000:]
        rows.append(("finished", seconds))
        for name, seconds in rows:
            print(f"{name:10} {seconds:7.2f} s")
        if arguments.profile:
            snakemake(folder, "--dry-run", "--forceall", "--quiet", "all", profile=folder / "plan.prof")
            own, total = share_of_own_code(folder / "plan.prof")
            print(f"plan, profiled: {own:.1f} s of {total:.1f} s in this project's functions")


if __name__ == "__main__":
    main()
