"""Every rule's job killed, and Snakemake with it or alone, at drawn moments: the bytes at the end are the same.

A study is started until it is whole. Whenever a job of a rule begins that was not killed yet, that job, or all of
Snakemake, is ended a moment later.
"""

import os
import random
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.bench import HANGS, SAMPLE, Study, drawn, few, new_study, new_whole_study
from tests.faults.short_studies import CONFIGS

pytestmark = [pytest.mark.slow, pytest.mark.sampled, pytest.mark.apart]

KILLED = few(100, 3)  # rules, where there are as many
LATEST = 0.6  # seconds after its beginning that a job is killed


def rules_of(study: Study) -> list[str]:
    """The rules that had jobs, by the names of their logs."""
    return sorted({rule_of(log, study) for log in (study.results / "logs").rglob("*.log")})


def rule_of(log: Path, study: Study) -> str:
    return log.relative_to(study.results / "logs").parts[0].removesuffix(".log")


def begun(study: Study, left: set[str], since: float) -> str | None:
    """A rule among those left of which a job has begun since a moment: the last one."""
    logs = [(log.stat().st_mtime, rule_of(log, study)) for log in (study.results / "logs").rglob("*.log")]
    return max(((when, rule) for when, rule in logs if rule in left and when >= since), default=(0, None))[1]


def processes_of_jobs(snakemake: int) -> list[psutil.Process]:
    """The processes by which Snakemake has started jobs, without its fork server and the copies of that."""
    try:
        children = psutil.Process(snakemake).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    found = []
    for child in children:
        try:
            command = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if "workflow_scripts." in command and "copy_server" not in command:
            found.append(child)
    return found


def end_a_job(process, number: int) -> None:
    """Send a signal to the processes of the jobs that run."""
    for job in processes_of_jobs(process.pid):
        try:
            job.send_signal(number)
        except psutil.Error:
            continue


def end_all(process, number: int) -> None:
    """Send a signal to Snakemake and all that it started, and wait for it to be gone."""
    os.killpg(process.pid, number)
    process.wait(timeout=HANGS)


def end_snakemake(process, number: int) -> None:
    """Send a signal to Snakemake alone, whose jobs go on or end by themselves."""
    process.send_signal(number)
    process.wait(timeout=HANGS)


WAYS = [
    (end_a_job, signal.SIGKILL), (end_a_job, signal.SIGTERM), (end_all, signal.SIGKILL), (end_all, signal.SIGTERM),
    (end_snakemake, signal.SIGTERM), (end_snakemake, signal.SIGKILL),
]  # fmt: skip


def run_and_kill(study: Study, left: set[str], draw: random.Random, killed: list[str]) -> int:
    """Start the study and end jobs of the rules that are left, until Snakemake has ended; its exit status."""
    since = time.time()
    process = study.start(cores=1)
    deadline = time.monotonic() + HANGS
    while left and process.poll() is None:
        assert time.monotonic() < deadline, study.said()
        rule = begun(study, left, since)
        if rule is None:
            time.sleep(0.02)
            continue
        left.remove(rule)
        way, number = draw.choice(WAYS)
        time.sleep(draw.uniform(0, LATEST))
        killed.append(f"{rule} by {way.__name__} {number.name}")
        if process.poll() is None:
            way(process, number)
    return process.wait(timeout=HANGS)


# Rules that are alike are one: those of segments, of other ways to train, and of figures. `plan` makes nothing.
ALIKE = ((r"train(_otherwise)?(_\d+)?(_from_\d+)?", r"train\1"), (r"draw_.*", "draw"))


@pytest.mark.skipif(SAMPLE, reason="the study of the sample has few rules")
def test_every_rule_of_the_workflow_has_jobs_in_the_study(whole_copy):
    listed = whole_copy.finish("--list-rules").splitlines()
    names = {line.partition(" ")[0] for line in listed if re.fullmatch(r"\w+( \(.*\))?", line)}
    made = set(rules_of(whole_copy))

    def kinds(rules: set[str]) -> set[str]:
        for pattern, kind in ALIKE:
            rules = {re.sub(f"^{pattern}$", kind, rule) for rule in rules}
        return rules

    assert kinds(names - {"all", "plan"}) == kinds(made)


def test_killed_in_every_rule_a_study_ends_with_the_bytes_of_one_left_alone(whole, tmp_path):
    draw, killed = drawn("kills"), []
    rules = rules_of(whole)
    left = set(draw.sample(rules, min(KILLED, len(rules))))
    if SAMPLE:
        study = new_study(tmp_path / "study", "")
        CONFIGS[0].ask_of(study)
    else:
        study = new_whole_study(tmp_path / "study")
    for _ in rules:
        status = run_and_kill(study, left, draw, killed)
        assert "Traceback" not in study.said(), killed
        if not left or status == 0:
            break
        wait_for_orphans(study)
        study.finish("--unlock")
    assert len(left) < 4, (left, killed)  # whose only job ended while another one was waited for
    wait_for_orphans(study)
    study.finish("--unlock")
    study.finish()
    assert study.contents() == whole.contents(), killed


def wait_for_orphans(study: Study) -> None:
    """Wait until jobs that outlived their Snakemake have ended; they end by themselves."""
    deadline = time.monotonic() + HANGS
    while any(of_study(process, study) for process in psutil.process_iter(["cmdline", "cwd"])):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def of_study(process: psutil.Process, study: Study) -> bool:
    command = " ".join(process.info["cmdline"] or ())
    return process.info["cwd"] == str(study.folder) and "workflow_scripts." in command
