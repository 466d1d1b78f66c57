"""What a person sees of a run: a line a job, what is left, equal failures once; never at the run's expense."""

import fcntl
import io
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from mcoherence.audit.time_left import TimeLeft
from workflow_scripts.console import handler, what_is_left
from workflow_scripts.console.failures import Failures, cause, message_of, silence
from workflow_scripts.console.jobs import planned_jobs
from workflow_scripts.console.what_is_left import WhatIsLeft

ROOT = Path(__file__).parents[3]
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "host"]
ERASE = "\r\x1b[K"
SNAKEFILE = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from workflow_scripts.console.handler import install
CONSOLE = install(workflow.output_settings) if workflow.is_main_process else None

onstart:
    CONSOLE.begin(workflow.dag, "{{}}", Path({str(ROOT)!r}), {{"cores": 2}}, False, 1, False)

onsuccess:
    CONSOLE.end()
    print("the last word", file=sys.stderr)

rule all:
    input: "good/1", "good/2"
    localrule: True
    message: "All is there"

rule good:
    output: "good/{{n}}"
    message: "Make good {{wildcards.n}}"
    shell: "sleep 1; touch {{output}}"

rule bad:
    output: "bad/{{n}}"
    log: "logs/bad{{n}}.log"
    message: "Make bad {{wildcards.n}}"
    shell: "echo 'error: bad/{{wildcards.n}}: found 7, expected 5' > {{log}}; exit 1"

rule waiting:
    input: "bad/1", "bad/2"
    output: "waiting"
    shell: "touch {{output}}"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path


def test_in_a_file_a_job_is_a_line_and_equal_causes_are_told_once(folder):
    answer = subprocess.run(
        [*SNAKEMAKE, "--keep-going", "--retries", "1", "--", "waiting", "good/1"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    said = answer.stdout
    assert answer.returncode == 1
    assert "\r" not in said
    assert "\x1b" not in said
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in said.splitlines()]
    assert len([line for line in lines if re.fullmatch(r"\[1/4\] Make good 1 \(\d+\.\d s\)", line)]) == 1
    told = [number for number, line in enumerate(lines) if line.startswith("FAILED: Make bad")]
    assert len(told) == 1
    number = lines[told[0]].removeprefix("FAILED: Make bad ")[0]
    assert lines[told[0] + 1 : told[0] + 3] == [
        f"    error: bad/{number}: found 7, expected 5",
        f"    log: logs/bad{number}.log",
    ]
    assert len([line for line in lines if line.startswith("FAILED for a reason told above: Make bad")]) == 3
    assert len([line for line in lines if line.startswith("It is tried again: Make bad")]) == 2
    end = lines.index("2 jobs failed, and for want of what they make 1 job did not run:")
    assert lines[end + 1] == f"    2 jobs: error: bad/{number}: found 7, expected 5"
    assert "echo" not in said  # the command
    assert len(lines) < 25


def on_terminal(command, folder, columns):
    """What a command writes to a terminal of that width, and its exit status."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ["TERM"] = "xterm"
        os.execv(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    written = b""
    while True:
        try:
            read = os.read(terminal, 65536)
        except OSError:  # its other end is closed
            break
        if not read:
            break
        written += read
    return written.decode().replace("\r\n", "\n"), os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_on_a_narrow_terminal_one_line_changes_and_is_gone_at_the_end(folder):
    said, status = on_terminal(SNAKEMAKE, folder, 50)
    assert status == 0
    *_, last = said.split(ERASE)
    assert last == "the last word\n"
    changing = [one.removesuffix("\r") for one in said.split(ERASE) if one.endswith("\r")]
    assert any(re.match(r"\d+ % of the work done, .* left", one) for one in changing)
    assert max(map(len, changing)) == 49  # they do not wrap
    assert re.findall(r"\[\d/3\] (.*) \(", said)[-1] == "All is there"
    assert sorted(re.findall(r"Make good \d", re.sub(r"[^\n]*\r", "", said))) == ["Make good 1", "Make good 2"]


@pytest.fixture
def logger(monkeypatch):
    """A logger as Snakemake's is, with a handler as Snakemake's own, which writes messages."""
    monkeypatch.setattr(handler, "SNAKEMAKE", "test of the console")
    logger = logging.getLogger(handler.SNAKEMAKE)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    own = logging.StreamHandler(io.StringIO())
    own.name = handler.SNAKEMAKES_OWN
    logger.handlers = [own]
    yield logger
    for one in logger.handlers:
        one.close()


def asked(**other):
    return SimpleNamespace(**{"quiet": None, "dryrun": False, "verbose": False, "printshellcmds": False, **other})


def test_a_fault_of_the_display_brings_snakemakes_own_back(logger):
    own = next(one for one in logger.handlers if one.name == handler.SNAKEMAKES_OWN)
    console = handler.install(asked())
    assert console in logger.handlers
    assert own not in logger.handlers
    logger.info("untold", extra={"event": LogEvent.JOB_INFO})  # and nothing that belongs to it
    logger.info("said by Snakemake")
    assert console not in logger.handlers
    first, *others = own.stream.getvalue().splitlines()
    assert first.startswith("The display of the run has a fault (AttributeError(")
    assert others == ["untold", "said by Snakemake"]


def test_nobody_who_reads_is_no_reason_to_end_a_run(logger):
    own = next(one for one in logger.handlers if one.name == handler.SNAKEMAKES_OWN)
    console = handler.install(asked())
    own.stream.close()
    reader, writer = os.pipe()
    os.close(reader)
    console._screen._stream = open(writer, "w")  # noqa: SIM115
    logger.info("said to nobody")
    logger.info("nor this")
    assert not {own, console} & set(logger.handlers)
    with pytest.raises(BrokenPipeError):
        console._screen._stream.close()


STOPS = ["Terminating processes on user request, this", "Will exit after finishing currently running jobs (scheduler)."]


@pytest.mark.parametrize("stop", STOPS, ids=["Ctrl-C", "SIGTERM"])
def test_jobs_that_the_user_stops_have_not_failed(logger, stop):
    console = handler.install(asked())
    stream = console._own.stream
    logger.info("", extra={"event": LogEvent.RUN_INFO, "stats": {"page": 1, "total": 1}})
    logger.info("", extra={"event": LogEvent.JOB_INFO, "jobid": 1, "rule_msg": "Write the page", "rule_name": "page"})
    logger.info(stop)
    logger.info(stop)
    logger.error("", extra={"event": LogEvent.JOB_ERROR, "jobid": 1, "rule_msg": None, "log": ["nowhere.log"]})
    logger.info("Trying to restart job 1.")
    logger.info("Complete log(s): it.log")
    logger.error("WorkflowError:\nAt least one job did not complete successfully.")
    said = [re.sub(r"^\S+ ", "", line) for line in stream.getvalue().splitlines()]
    assert re.fullmatch(r"Stopped: Write the page \(0\.\d s\)", said[-3])
    assert said[-2:] == ["Complete log(s): it.log", "Stopped. Start again to go on: what is done stays done."]
    assert not [line for line in said if "FAILED" in line or "tried again" in line]
    assert len([line for line in said if line.endswith(" ...")]) == 1


def test_a_job_that_failed_before_the_user_stopped_is_told_at_the_end_though_snakemake_says_it_is_tried_again(logger):
    console = handler.install(asked())
    logger.info("", extra={"event": LogEvent.RUN_INFO, "stats": {"page": 2, "total": 2}})
    logger.info("", extra={"event": LogEvent.JOB_INFO, "jobid": 1, "rule_msg": "Write the page", "rule_name": "page"})
    logger.error("", extra={"event": LogEvent.JOB_ERROR, "jobid": 1, "rule_msg": None, "log": ["nowhere.log"]})
    logger.info(STOPS[1])
    logger.info("Trying to restart job 1.")
    logger.info("Exiting because a job execution failed. Look below for error messages")
    assert "1 job failed:\n    1 job: its log says nothing" in console._own.stream.getvalue()


def test_a_log_that_says_nothing_on_a_full_disk_is_told_so(monkeypatch, tmp_path):
    log = str(tmp_path / "logs/train/seed0.log")
    assert silence(log) == silence(None) == "its log says nothing"
    full = SimpleNamespace(f_bavail=0)
    monkeypatch.setattr(os, "statvfs", lambda folder: full)
    assert silence(log) == (
        f"its log says nothing, and there is no room left on the disk of {tmp_path}; make room, and run again"
    )


def test_a_job_that_fails_twice_counts_once():
    failures = Failures()
    assert failures.add(1, "error: one")
    assert failures.add(1, "error: another")
    assert (len(failures), failures.lines()) == (1, ["    1 job: error: another"])


def test_a_fault_in_what_is_left_leaves_that_out_and_no_more(logger, monkeypatch):
    class Faulty(TimeLeft):
        def start(self, number, now):
            raise RuntimeError("a fault")

    monkeypatch.setattr(what_is_left, "TimeLeft", Faulty)
    left = WhatIsLeft(lambda: 0.0, threading.Lock())
    left.begin(dag_of(job(1, "page")), "{}", ROOT, {"cores": 2}, gpus=False, ranks=1)
    left.start(1)
    left.end(1)
    assert (left.words(1, 2), left.not_to_run()) == ("1 of 2 jobs done", 0)


def test_of_a_group_those_jobs_failed_whose_logs_say_why_or_else_the_group(logger, tmp_path):
    stream = handler.install(asked())._own.stream
    logger.info("", extra={"event": LogEvent.RUN_INFO, "stats": {"tabulate": 3, "total": 3}})
    for number in (1, 2, 3):
        told = {"jobid": number, "rule_msg": f"Tabulate {number}", "rule_name": "tabulate"}
        logger.info("", extra={"event": LogEvent.JOB_INFO, **told})
    (tmp_path / "2.log").write_text("error: too large\n")
    jobs = [{"jobid": number, "log": [str(tmp_path / f"{number}.log")]} for number in (1, 2, 3)]
    error = {"event": LogEvent.GROUP_ERROR, "groupid": "tables", "aux_logs": ["slurm.log"]}
    logger.error("Error in group tables", extra={**error, "job_error_info": jobs})
    said = [re.sub(r"^\d\S+ ", "", line) for line in stream.getvalue().splitlines()]
    assert [line for line in said if "FAILED" in line] == [said[1]]
    assert said[1].startswith("FAILED: Tabulate 2 (")
    assert said[2:] == ["    error: too large", f"    log: {tmp_path / '2.log'}"]
    logger.error("Error in group tables: sbatch failed. CPU count\n    sbatch call:\n        sbatch -p cpu")
    logger.error("Error in group tables", extra={**error, "job_error_info": jobs[:1] + jobs[2:]})
    said = [re.sub(r"^\d\S+ ", "", line) for line in stream.getvalue().splitlines()]
    assert said[-3:] == ["FAILED: 2 jobs of the group tables", "    sbatch failed. CPU count", "    log: slurm.log"]


def test_what_slurm_says_of_a_job_follows_what_its_log_says(logger, tmp_path):
    stream = handler.install(asked())._own.stream
    log = tmp_path / "a.log"
    log.write_text("error: edited\n")
    failed = "SLURM-job '7' failed, SLURM status is: 'FAILED'."
    says = f"{failed} Detailed failure reason unavailable (why). For further error details see the cluster/cloud log."
    logger.error("", extra={"event": LogEvent.JOB_ERROR, "jobid": 1, "rule_msg": says, "log": [str(log)]})
    assert stream.getvalue().splitlines()[1] == f"    error: edited - {failed}"


@pytest.mark.parametrize("other", [{"dryrun": True}, {"verbose": True}, {"printshellcmds": True}, {"quiet": ["all"]}])
def test_who_asks_for_more_or_less_has_snakemakes_own_words(logger, other):
    before = list(logger.handlers)
    assert handler.install(asked(**other)) is None
    assert logger.handlers == before


def test_another_logger_that_writes_to_the_terminal_stays(logger):
    logger.handlers = [logging.StreamHandler(io.StringIO())]
    assert handler.install(asked()) is None


class Job(SimpleNamespace):
    """A job that can be a key, as Snakemake's."""

    def __hash__(self):
        return self.jobid


def job(number, rule, needs=(), **wildcards):
    return Job(
        jobid=number, rule=SimpleNamespace(name=rule), wildcards_dict=wildcards, input=SimpleNamespace(), needs=needs
    )


RUN = {"dataset": "digits", "model": "mlp", "labels": "clean", "optimizer": "sgd", "subset": "full", "seed": "0"}


def dag_of(*jobs):
    return SimpleNamespace(needrun_jobs=lambda: iter(jobs), job_dependencies=lambda job: job.needs)


def test_jobs_are_told_apart_by_what_they_do_to_which_network():
    train, put = job(1, "train_from_6", **RUN), job(2, "measure_coherence", **RUN)
    part = job(3, "measure_coherence_part", (train,), **RUN, result="coherence_m500")
    draw = job(4, "draw_summary")
    put.needs, put.input.parts = (part,), ["whole.h5"]
    jobs, of_runs = planned_jobs(dag_of(train, put, part, draw), gpus=True, ranks=4)
    run = "digits/mlp/clean/sgd/full/seed0"
    assert of_runs == {1: ("train", run), 3: ("coherence_m500", run)}  # what only puts parts in place does no work
    assert jobs[1].kind == "train/digits/mlp"
    assert jobs[1].uses == {"cores": 4, "gpu": 4}
    assert (jobs[2].needs, jobs[3].needs) == ([3], [1])
    assert jobs[2].uses["gpu"] == 0
    assert jobs[4].kind == "draw"


def test_in_a_file_what_is_left_is_told_now_and_then(logger, monkeypatch):
    monkeypatch.setattr(handler, "SECONDS_BETWEEN_LINES", 0.0)
    console = handler.install(asked())
    stream = console._own.stream
    make = job(1, "page")
    logger.info("", extra={"event": LogEvent.RUN_INFO, "stats": {"page": 1, "report": 1, "total": 2}})
    console.begin(dag_of(make), "{}", ROOT, {"cores": 2}, gpus=False, ranks=1, queued=True)
    logger.info("", extra={"event": LogEvent.JOB_INFO, "jobid": 1, "rule_msg": "Write the page", "rule_name": "page"})
    deadline = time.monotonic() + 30
    while "running" not in stream.getvalue() and time.monotonic() < deadline:
        time.sleep(0.05)
    console.end()
    told = stream.getvalue().splitlines()[-1]
    assert re.fullmatch(
        r".* \d+ % of the work done, .* left by the plan; 1 job queued or running, .*: Write the page", told
    )


@pytest.mark.parametrize("answers", [True, False])
def test_no_time_is_told_before_the_plan_or_the_jobs_of_this_run_tell_it(monkeypatch, answers):
    now, heard = [0.0], []
    running = SimpleNamespace(poll=lambda: None, terminate=lambda: None)
    monkeypatch.setattr(what_is_left, "ask_plan", lambda base, config, answer: heard.append(answer) or running)
    left = WhatIsLeft(lambda: now[0], threading.Lock())
    trainings = [job(number, "train_from_0", **RUN | {"seed": str(number)}) for number in range(4)]
    left.begin(dag_of(*trainings), "{}", ROOT, {"cores": 1}, gpus=False, ranks=1)
    left.start(0)
    assert left.words(0, 4) == "0 of 4 jobs done"  # the plan was not asked yet
    left.ask_plan()
    now[0] = 10.0
    assert left.words(0, 4) == "0 of 4 jobs done"
    if answers:
        heard[0]({"train": {f"digits/mlp/clean/sgd/full/seed{number}": 3600.0 for number in range(4)}})
        assert left.words(0, 4) == "0 % of the work done, 4 h left by the plan"
        return
    running.poll = lambda: 1  # it ended and said nothing
    now[0] = 20.0
    assert left.words(0, 4) == "0 of 4 jobs done"
    now[0] = 600.0
    left.end(0)
    assert left.words(1, 4) == "25 % of the work done, about 30 min left"


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("error: a/b: found 3\n", "error: a/b: found 3"),
        ("error: first\nlaunch: no srun here\nerror: last\nIt goes on.\n", "error: last"),
        ("No module named snakemake\nStoring output in storage.\n", "No module named snakemake"),
        ("Traceback (most recent call last):\n  File\nKeyError: 'x'\n\n", "KeyError: 'x'"),
        ("train: 0/5\n\x1b[31merror\x07\n", "[31merror"),
        ("", ""),
        (None, ""),
    ],
)
def test_the_message_of_a_failure_is_the_line_in_its_log_that_says_why(tmp_path, log, message):
    path = tmp_path / "job.log"
    if log is not None:
        path.write_text(log)
    assert message_of([str(path)])[0] == message


def test_the_log_that_says_error_has_the_word_and_a_long_one_is_read_at_its_end(tmp_path):
    own, of_slurm = tmp_path / "job.log", tmp_path / "slurm.log"
    own.write_text("train: 0/5\n")
    of_slurm.write_text("x" * 200_000 + "\nerror: my_network: edited\nSome last line\n")
    assert message_of([str(own), str(of_slurm)]) == ("error: my_network: edited", str(of_slurm))


def test_a_log_of_an_earlier_run_says_nothing_of_this_one(tmp_path):
    log = tmp_path / "job.log"
    log.write_text("error: of old\n")
    os.utime(log, (1000, 1000))
    assert message_of([str(log)], since=1000) == ("error: of old", str(log))
    assert message_of([str(log)], since=1001) == ("", "")


def test_causes_are_equal_whatever_the_path_and_the_number():
    assert cause("error: results/a/labels.h5: found 3") == cause("error: results/b/c.h5: found 41")
    assert cause("error: device: found 'cuda'") != cause("error: lr: found 'cuda'")
