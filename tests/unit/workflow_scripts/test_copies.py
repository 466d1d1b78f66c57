"""Jobs that start as copies of one process are as if they had been started: streams, status, signals, and no orphans.

The command that is copied here is `launch` itself, which turns into any other one: a shell that says what it sees.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mcoherence.audit.peak_memory import peak_memory_file
from workflow_scripts.jobs import copy_server
from workflow_scripts.jobs.copy_client import CONTAINERS, OFFER, offer
from workflow_scripts.jobs.copy_protocol import Request

LAUNCH = ["-m", "workflow_scripts.jobs.launch", "--device", "cpu", "--"]
AS_COPY = [sys.executable, *LAUNCH, "python", *LAUNCH, "bash", "-c"]
ROOT = Path(__file__).parents[3]
SECONDS = 30  # that anything here may take


@pytest.fixture(autouse=True)
def no_signal_is_ignored():
    """Whoever started the tests may ignore SIGINT and SIGHUP (&, nohup), and so would what is started here."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def environment():
    """Variables of jobs that this process starts and offers copies to; ends their server."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # One thread, as Snakemake tells the libraries of its jobs: a process of several is not copied.
    variables = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path, "OPENBLAS_NUM_THREADS": "1"}
    offer(variables)
    yield variables
    if (server := server_of(variables)) != os.getpid():
        os.kill(server, signal.SIGKILL)


def output(script, environment, **options):
    """What a shell says that is started as a copy where there is one."""
    return subprocess.run(
        [*AS_COPY, script], env=environment, text=True, stdout=subprocess.PIPE, **options
    ).stdout.strip()


def test_what_every_job_waits_for_before_it_is_one_is_little(environment):
    """Of a client's imports; what only some jobs need, such as GPUs, and what compares code, is not among them."""
    command = [sys.executable, *LAUNCH, "true"]
    told = subprocess.run(
        command, env=environment | {"PYTHONPROFILEIMPORTTIME": "1"}, text=True, stderr=subprocess.PIPE, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines() if line.startswith("import time:")}
    assert "workflow_scripts.jobs.copy_client" in imported
    for heavy in ("gpu_lease", "entry", "started"):
        assert f"workflow_scripts.jobs.{heavy}" not in imported
    assert not imported & {"dataclasses", "inspect", "logging", "hashlib", "secrets", "tempfile", "torch", "numpy"}


def server_of(environment):
    """Process number of the fork server: the parent of a copy."""
    return int(output("echo $PPID", environment))


def waits_for(condition):
    """Whether it comes true in time."""
    until = time.monotonic() + SECONDS
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def started(script, environment, **options):
    """A job whose copy has said that it is ready, and the number of the copy's process."""
    job = subprocess.Popen([*AS_COPY, script], env=environment, text=True, stdout=subprocess.PIPE, **options)
    return job, int(job.stdout.readline())


def runs(process):
    """Whether there is a process of that number that is more than a record of its end."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_jobs_are_copies_of_one_process_and_no_children_of_their_own_clients(environment):
    parents = {server_of(environment) for _ in range(3)}
    assert len(parents) == 1
    assert os.getpid() not in parents


def test_jobs_that_start_together_share_one_process(environment):
    jobs = [
        subprocess.Popen([*AS_COPY, "echo $PPID"], env=environment, text=True, stdout=subprocess.PIPE) for _ in range(4)
    ]
    assert len({job.communicate(timeout=SECONDS)[0] for job in jobs}) == 1


def test_a_copy_has_its_jobs_folder_arguments_and_streams(environment, tmp_path):
    job = subprocess.run(
        [*AS_COPY, 'pwd; echo "$1"; cat; echo told >&2', "bash", "ä b\n"],
        env=environment,
        cwd=tmp_path,
        input="given",
        text=True,
        capture_output=True,
    )
    assert (job.stdout, job.stderr) == (f"{tmp_path}\nä b\n\ngiven", "told\n")


@pytest.mark.parametrize("status", [0, 1, 7])
def test_the_job_leaves_with_the_status_of_its_copy(environment, status):
    assert subprocess.run([*AS_COPY, f"exit {status}"], env=environment).returncode == status


def test_the_job_ends_by_the_signal_that_ended_its_copy(environment):
    assert subprocess.run([*AS_COPY, "kill -KILL $$"], env=environment).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (
            ["corrupt_labels", "--settings={}", "--images=gone.h5", "--labels=l.h5"],
            1,
            r"error: gone\.h5: not found; .*\n",
        ),
        (["plan", "--settings={}", "--device=cpu"], 1, r"Traceback \(most recent call last\):\n.*\nKeyError: '\w+'\n"),
        (["plan"], 2, r"usage: .*error: the following arguments are required: --settings, --device\n"),
        (["plan", "--help"], 0, r"usage: .*--settings SETTINGS"),
    ],
)
def test_a_command_ends_as_it_does_when_it_is_started(environment, command, status, said):
    name, *options = command
    started = ["python", "-m", f"workflow_scripts.{name}", *options]
    for job in ([sys.executable, *LAUNCH, *started], started):
        ended = subprocess.run(job, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert ended.returncode == status
        assert re.match(said, ended.stdout, flags=re.DOTALL), ended.stdout


@pytest.mark.parametrize("name", ["TERM", "INT", "USR1", "HUP"])
def test_a_signal_to_the_job_reaches_its_copy(environment, name):
    script = f"trap 'echo got {name}; exit 9' {name}; echo $$; while :; do sleep 0.02; done"
    job, _ = started(script, environment)
    job.send_signal(getattr(signal, f"SIG{name}"))
    assert job.communicate(timeout=SECONDS)[0] == f"got {name}\n"
    assert job.returncode == 9


def test_a_copy_does_not_outlive_its_job(environment):
    job, copy = started("echo $$; exec sleep 600", environment)
    job.kill()
    job.wait()
    assert waits_for(lambda: not runs(copy))


def test_nor_the_process_that_it_is_a_copy_of(environment):
    job, copy = started("echo $$; exec sleep 600", environment, stderr=subprocess.PIPE)
    os.kill(server_of(environment), signal.SIGKILL)
    assert "the process that this job was copied from has ended" in job.communicate(timeout=SECONDS)[1]
    assert job.returncode == 1
    assert waits_for(lambda: not runs(copy))


def test_the_next_job_after_that_starts_another_one(environment):
    first = server_of(environment)
    os.kill(first, signal.SIGKILL)
    assert waits_for(lambda: not runs(first))
    assert server_of(environment) not in (first, os.getpid())


def test_it_is_offered_once_however_often_and_anew_by_another_process():
    variables = {OFFER: f"{os.getppid()}:of-the-parent"}
    offer(variables)
    own = variables[OFFER]
    assert own.startswith(f"{os.getpid()}:")
    offer(variables)
    assert variables[OFFER] == own


def test_the_process_ends_with_the_one_that_offered_it_after_the_copies(tmp_path, environment):
    copy = f'"{sys.executable}" {" ".join(AS_COPY[1:])}'
    script = f"""
        export {OFFER}=$$:of-its-own
        {copy} 'echo $PPID > server; touch begun; sleep 3; echo done > done' > log &
        until [ -e begun ]; do sleep 0.02; done
    """
    subprocess.run(["bash", "-c", script], env=environment, cwd=tmp_path, check=True)
    server = int((tmp_path / "server").read_text())
    assert runs(server)
    assert waits_for(lambda: not runs(server))
    assert (tmp_path / "done").read_text() == "done\n"


def no_copy(environment):
    """What the log says of a job that is none, after a check that it is none."""
    job = subprocess.run([*AS_COPY, "echo $PPID $SAID"], env=environment, text=True, capture_output=True)
    assert job.stdout.split() == [str(os.getpid()), *filter(None, [environment.get("SAID")])]
    return job.stderr


def test_a_job_with_another_environment_is_no_copy_and_says_in_what_it_differs(environment):
    server_of(environment)  # which starts it
    log = no_copy(environment | {"SAID": "so", "TOLD": ""})
    assert log == (
        "launch: this job is no copy and takes longer to start: its environment is another than the first job's "
        "(SAID, TOLD)\n"
    )


def test_nor_is_one_in_a_container(environment):
    assert "no copy and takes longer to start: it is in a container" in no_copy(environment | {CONTAINERS[0]: "a.sif"})


def test_nor_is_one_that_another_process_started_which_was_offered_none(environment):
    assert no_copy(environment | {OFFER: f"1{os.getpid()}:token"}) == ""


def test_nor_is_one_whose_library_has_started_a_thread():
    request = Request("workflow_scripts.jobs.launch", [], "/", dict(os.environ))
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    assert "has started a thread" in copy_server.refusal(request)
    ended.set()
    thread.join()


@pytest.mark.parametrize("name", ["tabulate", "check_claims", "describe_study", "draw"])
def test_one_that_loads_pyarrow_is_a_copy_all_the_same(environment, name):
    command = [sys.executable, *LAUNCH, "python", "-m", f"workflow_scripts.{name}", "--help"]
    job = subprocess.run(command, env=environment, text=True, capture_output=True)
    assert job.stdout.startswith(f"usage: {name}.py")
    assert job.stderr == ""
    assert int(output("echo $PPID", environment)) != os.getpid()  # nor does it keep later jobs from being copies


def test_a_request_may_be_larger_than_what_a_socket_holds(environment):
    large = environment | {f"LARGE{number}": 100_000 * "x" for number in range(8)}
    assert int(output("echo $PPID", large)) != os.getpid()


def test_a_module_that_cannot_be_imported_says_so_in_its_own_job(environment):
    command = [sys.executable, *LAUNCH, "python", "-m", "workflow_scripts.nothing"]
    job = subprocess.run(command, env=environment, text=True, capture_output=True)
    assert job.returncode == 1
    assert "takes longer to start: workflow_scripts.nothing cannot be imported" in job.stderr
    assert "No module named workflow_scripts.nothing" in job.stderr.splitlines()[-1]


def test_requests_of_other_users_are_not_heard():
    class Another:
        def getsockopt(self, *_):
            return copy_server.CREDENTIALS.pack(1, os.getuid() + 1, 0)

    with pytest.raises(PermissionError):
        copy_server.asked(Another())


def test_the_memory_of_a_copy_is_beside_its_log_and_goes_when_the_job_is_started_otherwise(environment, tmp_path):
    log = tmp_path / "job.log"

    def run(*command, **variables):
        with log.open("w") as stream:
            subprocess.run(command, env=environment | variables, stdout=stream)

    training = [sys.executable, *LAUNCH, "python", "-m", "workflow_scripts.train", "--help"]
    run(*training)
    assert 100 < float(peak_memory_file(log).read_text()) < 10_000  # MB, of which torch takes some hundred
    run(*training, SAID="so")
    assert not peak_memory_file(log).exists()
    run(*AS_COPY, "kill -KILL $$")
    assert 0 < float(peak_memory_file(log).read_text()) < 10_000
