"""The advice on files, folders and the machine: what was refused works once it was done."""

import fcntl
import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mcoherence import device
from mcoherence.audit.job_records import read_record
from mcoherence.audit.result_checks import check_code, check_log, check_settings
from mcoherence.claims.stored import SCHEMA, read_claims
from mcoherence.errors import UserError
from mcoherence.files.atomic import write_text
from mcoherence.files.digests import sha256_of
from mcoherence.files.faults import refusal_of_system, require_places, require_readable
from mcoherence.files.hdf5 import open_hdf5, read_attributes, read_hdf5, write_hdf5
from mcoherence.files.json_csv import write_sealed_json
from mcoherence.files.provenance import provenance
from mcoherence.files.tables import check_table, read_table, write_table
from mcoherence.measuring.joining import join
from mcoherence.study import config_files
from mcoherence.study.network_code import network_code
from mcoherence.training.state import TrainingState, write_state
from tests.remedies.following import cases_of, follow, follows
from workflow_scripts.jobs import entry, gpu_lease, started
from workflow_scripts.measuring import copied_from_parts

LABELS = "mcoherence/labels/2"


def write_labels(path, value=1):
    labels = {name: np.full(3, value) for name in ("labels", "original")}
    write_hdf5(path, LABELS, labels | {name: np.zeros(3, dtype=np.bool_) for name in ("selected", "changed")}, {})


def told(action):
    """What a job says of it: `workflow_scripts.jobs.entry` makes this line of what the system refuses."""
    try:
        action()
    except OSError as error:
        raise UserError(refusal_of_system(error) or error) from error


# What the system refuses


@contextmanager
def limit(kind, value):
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@follows("expected a file of that size to be allowed; raise the limit (ulimit -f), or take another disk")
def a_limit_of_the_size_of_files(tmp_path):
    def written():
        told(lambda: write_text(tmp_path / "table.csv", "0" * 10_000))

    def within_the_limit():
        with limit(resource.RLIMIT_FSIZE, 100):
            written()

    yield within_the_limit
    yield written


@follows("expected fewer open files to be enough; raise the limit (ulimit -n) and run again")
def a_limit_of_open_files(tmp_path):
    def opened():
        told(lambda: (tmp_path / "a").open("w").close())

    def within_the_limit():
        with limit(resource.RLIMIT_NOFILE, 3):
            opened()

    yield within_the_limit
    yield opened


@follows("expected room for it on that disk; make room and run again")
def a_full_disk(tmp_path):
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    yield lambda: told(lambda: path.write_text("a line"))
    path.unlink()
    yield lambda: told(lambda: path.write_text("a line"))


@follows("expected a shorter path; work in another folder, or give shorter names")
def a_long_name(tmp_path):
    yield lambda: told(lambda: write_text(tmp_path / ("n" * 300), ""))
    yield lambda: told(lambda: write_text(tmp_path / ("n" * 30), ""))


@follows("expected a file, and there is a folder; move it away and run again")
def a_folder_for_a_file(tmp_path):
    (tmp_path / "index.html").mkdir()
    (tmp_path / "index.html/of_the_user").write_text("kept")
    yield lambda: told(lambda: write_text(tmp_path / "index.html", "page"))
    (tmp_path / "index.html").rename(tmp_path / "moved")
    yield lambda: told(lambda: write_text(tmp_path / "index.html", "page"))


@follows("expected a folder on the way there, and there is a file; move it away and run again")
def a_file_for_a_folder(tmp_path):
    (tmp_path / "tables").write_text("the user's")
    yield lambda: told(lambda: (tmp_path / "tables/accuracy.csv").write_text(""))
    (tmp_path / "tables").rename(tmp_path / "moved")
    (tmp_path / "tables").mkdir()
    yield lambda: told(lambda: (tmp_path / "tables/accuracy.csv").write_text(""))


@follows("{}: found a file, expected a folder; move it away and run again")
def a_file_for_a_folder_of_the_study(tmp_path):
    results = tmp_path / "results/mine"
    results.mkdir(parents=True)
    files = [str(results / name) for name in ("claims.json", "tables/accuracy.csv", "runs/digits/mlp/log.csv")]
    for name, kind in (("runs", Path.touch), ("tables/accuracy.csv", Path.mkdir)):  # a folder for a file, too
        path = results / name
        path.parent.mkdir(exist_ok=True)
        kind(path)
        if kind is Path.mkdir:
            with pytest.raises(UserError, match=r"accuracy\.csv: found a folder, expected a file; move it away"):
                require_places(results, files)
        else:
            yield lambda: require_places(results, files)
        path.rename(tmp_path / "moved")
        (tmp_path / "moved").unlink() if kind is Path.touch else (tmp_path / "moved").rmdir()
        yield lambda: require_places(results, files)


@follows("{}: found a folder, expected a file; move it away and run again")
def a_folder_to_be_read(tmp_path):
    path = tmp_path / "claims.html"
    path.mkdir()

    def read():
        try:
            path.read_bytes()
        except OSError as error:
            require_readable(path, error)

    yield read
    path.rename(tmp_path / "moved")
    path.write_text("page")
    yield read


@follows("{}: cannot be read now ({}), expected a file that this user may read and nobody writes to; change its")
def a_locked_file(tmp_path):
    path = tmp_path / "labels.h5"
    write_labels(path)
    with path.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        yield lambda: read_hdf5(path, LABELS)
        fcntl.flock(holder, fcntl.LOCK_UN)
        yield lambda: read_hdf5(path, LABELS)


@follows(": this file system has no locks; HDF5_USE_FILE_LOCKING=FALSE in the environment does without")
def a_file_system_without_locks(tmp_path, monkeypatch):
    import errno

    path = tmp_path / "labels.h5"
    write_labels(path)
    with monkeypatch.context() as patch:

        def refused(*_arguments, **_options):
            raise OSError(errno.ENOLCK, "No locks available")

        patch.setattr("mcoherence.files.hdf5.h5py.File", refused)
        yield lambda: open_hdf5(path, LABELS).__enter__()
    code = f"import h5py; h5py.File({str(path)!r}, 'r')"
    with path.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)  # so that whoever asks for a lock is refused
        without = os.environ | {"HDF5_USE_FILE_LOCKING": "FALSE"}
        yield lambda: subprocess.run([sys.executable, "-c", code], env=without, check=True)


# Files that are not as they were written: deleted, and made again


@follows("delete the file and run again")
def a_damaged_result(tmp_path):
    path = tmp_path / "labels.h5"
    write_labels(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    yield lambda: read_hdf5(path, LABELS)
    path.unlink()
    write_labels(path)
    yield lambda: read_hdf5(path, LABELS)


@pytest.mark.parametrize(
    ("message", "damage"),
    [
        ("{}: changed since it was made, expected the rows that were written; delete both forms of the table and run",
         lambda csv, parquet: csv.write_text("a\n2\n")),
        ("{}: not found, expected a Parquet table; run the study again", lambda csv, parquet: parquet.unlink()),
        ("delete both forms of the table and run again", lambda csv, parquet: parquet.write_bytes(b"PAR1")),
    ],
)  # fmt: skip
def test_a_table_that_is_made_again_is_read(tmp_path, message, damage):
    import pandas as pd

    csv, parquet = tmp_path / "t.csv", tmp_path / "t.parquet"
    write_table(pd.DataFrame({"a": [1]}), csv, parquet, provenance({}, []))
    damage(csv, parquet)

    def steps():
        yield lambda: [check_table(parquet), read_table(parquet)]
        csv.unlink()
        parquet.unlink(missing_ok=True)
        write_table(pd.DataFrame({"a": [1]}), csv, parquet, provenance({}, []))
        yield lambda: [check_table(parquet), read_table(parquet)]

    follow(message, steps, None)


@pytest.mark.parametrize(
    ("message", "schema", "page"),
    [
        ("{}: found schema {}, expected 'mcoherence/claims/5'; delete claims.json and", "other", "page"),
        ("{}: changed since it was made, expected the page of {}; delete claims.json and", SCHEMA, "other"),
        ("delete claims.json and claims.html and run again", SCHEMA, "other"),
    ],
)  # fmt: skip
def test_claims_that_are_made_again_are_read(tmp_path, message, schema, page):
    claims, html = tmp_path / "claims.json", tmp_path / "claims.html"

    def write(schema, page):
        html.write_text("page")
        write_sealed_json(claims, {"schema": schema, "page_sha256": sha256_of(html)})
        html.write_text(page)

    write(schema, page)

    def steps():
        yield lambda: read_claims(claims, html)
        claims.unlink()
        html.unlink()
        write(SCHEMA, "page")
        yield lambda: read_claims(claims, html)

    follow(message, steps, None)


@pytest.mark.parametrize(
    ("message", "damage"),
    [
        ("{}: missing, expected the log of the training that ended in {}; run again", Path.unlink),
        (
            "{}: changed since it was made, expected the rows of {}'s digest; {}",
            lambda log: log.write_text("step\n1\n"),
        ),
    ],
)
def test_a_log_that_is_made_again_is_the_states(tmp_path, message, damage):
    log, state = tmp_path / "training_log.csv", tmp_path / "update3.safetensors"

    def train():
        log.write_text("step\n0\n")
        write_state(state, TrainingState(3, {"w": torch.ones(1)}), log_sha256=sha256_of(log))

    train()
    damage(log)

    def steps():
        yield lambda: check_log(log, state)
        log.unlink(missing_ok=True)
        train()
        yield lambda: check_log(log, state)

    follow(message, steps, None)


@follows("{}: made with {} {}{}, expected {} as the config asks for; the report would mix settings; {}")
def a_file_of_other_settings():
    yield lambda: check_settings("evaluation.h5", {"lr": 0.1}, {"lr": 0.2})
    yield lambda: check_settings("evaluation.h5", {"lr": 0.2}, {"lr": 0.2})


@follows("{}: made by other code than the present one ({}), expected {}; the report would mix versions of the code; {}")
def a_file_of_other_code():
    yield lambda: check_code("evaluation.h5", "0" * 8, "1" * 8)
    yield lambda: check_code("evaluation.h5", "1" * 8, "1" * 8)


@follows(
    "{}: damaged ({}), expected the times of a job as Snakemake writes them; delete the file, then they are left out"
)
def times_of_a_job(tmp_path):
    from mcoherence.audit.page import run_times

    path = tmp_path / "benchmarks/plan.tsv"
    path.parent.mkdir()
    path.write_text("s\th:m:s\nmany\t0\n")
    yield lambda: read_record(tmp_path, Path("plan"))
    path.unlink()
    yield lambda: run_times(tmp_path)


@follows("{}: found other {} than in {}, expected parts of one whole; delete both")
def parts_of_two_wholes(tmp_path):
    paths = [tmp_path / f"{number}.h5" for number in range(2)]

    def write(number, settings):
        values = {"step": np.array([number]), "loss": np.ones(1), "name": np.array([7])}
        write_hdf5(paths[number], "mcoherence/parts_of_test/1", values, provenance(settings, []).as_attributes())

    write(0, {"lr": 1})
    write(1, {"lr": 2})
    yield lambda: join(paths, "mcoherence/parts_of_test/1")
    for number, path in enumerate(paths):
        path.unlink()
        write(number, {"lr": 2})
    yield lambda: join(paths, "mcoherence/parts_of_test/1")


@pytest.mark.parametrize(
    ("message", "read"),
    [
        ("{}: not found; expected a {} file; look at the path, or make it", lambda path: read_hdf5(path, LABELS)),
        ("{}: not found; expected a result file; look at the path, or make it", read_attributes),
    ],
)
def test_a_file_that_was_made_is_read(tmp_path, message, read):
    path = tmp_path / "labels.h5"

    def steps():
        yield lambda: read(path)
        write_labels(path)
        yield lambda: read(path)

    follow(message, steps, None)


@follows("{}: made by other code than the present one, expected parts and whole of one code; delete its folder and run")
def a_whole_of_other_code(tmp_path):
    parts, result = tmp_path / "parts/whole.h5", tmp_path / "coherence.h5"

    def joined(code):
        write_hdf5(parts, "mcoherence/parts_of_test/1", {"step": np.zeros(1)}, {"code": code})

    parts.parent.mkdir()
    joined("other")
    arguments = SimpleNamespace(parts=parts, result=result, code="present")
    yield lambda: copied_from_parts(arguments)
    shutil.rmtree(parts.parent)
    parts.parent.mkdir()
    joined("present")
    yield lambda: copied_from_parts(arguments)


@follows("error: {}:{}: found that it ends Python (sys.exit) in {}, expected code that returns; take it out")
def code_of_ones_own_that_leaves(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def job(last):
        (tmp_path / "data_that_leaves.py").write_text(f"import sys\n\ndef data():\n    {last}\n")
        sys.modules.pop("data_that_leaves", None)
        entry.run(lambda: __import__("data_that_leaves").data())

    yield lambda: job("sys.exit(0)")
    yield lambda: job("return 0")


# Devices and memory


@follows("device: found {}, expected one that this machine has ({}); set `device: auto`")
def a_device_that_is_not_there():
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    yield lambda: device.prepare_device("tpu", threads)
    yield lambda: device.prepare_device("auto", threads)
    torch.set_deterministic_debug_mode(mode)


@follows("device: found mps, an Apple GPU, which has no float64, expected one that has for {}; set `device: cpu`")
def float64_on_an_apple():
    yield lambda: device.require_float64(torch.device("mps"), "training.precision")
    yield lambda: device.require_float64(torch.device("cpu"), "training.precision")


@follows(
    "device: found the operation {}, for which this device has no deterministic algorithm, expected the same bytes"
)
def an_operation_without_determinism():
    """Of three ways out two are the same here: another device, and another network, do not call it."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()

    def computed(deterministic):
        device.prepare_device("cpu", threads, deterministic)
        try:
            if torch.are_deterministic_algorithms_enabled():
                raise RuntimeError("cumsum_of_test does not have a deterministic implementation, but you set")
        except RuntimeError as error:
            raise device.without_determinism(error) from error

    yield lambda: computed(True)
    yield lambda: computed(False)
    torch.set_deterministic_debug_mode(mode)


@follows("{}: found a {} that has too little{}{}; expected room for {}; {}")
def too_little_memory():
    @device.enough_memory("lower operational.cpu_batch_mb")
    def batch(rows):
        if rows > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    yield lambda: batch(8)
    yield lambda: batch(4)


@follows("operational.ranks: found {}, expected at most the {} GPUs that a job may use here ({}); lower it")
def more_ranks_than_gpus(tmp_path):
    yield lambda: gpu_lease.lease(3, ["0", "1"], tmp_path / "gpus")
    yield lambda: gpu_lease.lease(2, ["0", "1"], tmp_path / "gpus")


# Config files, and code of one's own


CONFIGS = [
    (
        "{}, line {}: found {}, expected UTF-8; save it as UTF-8",
        "study: z\u00fcrich".encode("latin-1"),
        b"study: zurich",
    ),
    ("{}{}: is no YAML ({}); correct it", b"study: a\n\tlr: 1\n", b"study: a\nlr: 1\n"),
    ("{}: is no YAML ({}); correct it", b"study: \x00", b"study: a"),
    ('write the number in full, or "{}" in quotes', b"study: 010", b'study: "010"'),
    ('write the number in full, or "{}" in quotes', b"study: 1:30", b"study: 90"),
    ("{}: found {}; expected {}{}", b"study: a\nstudy: b\n", b"study: a\n"),
    ('write "{}"', b"labels: {3: a}", b'labels: {"3": a}'),
    ('write "{}": "{}" where both are names, else "{}": {}', b"labels: {3: 8}", b'labels: {"3": "8"}'),
    ('write "{}": "{}" where both are names, else "{}": {}', b"options: {3: 8}", b'options: {"3": 8}'),
    (
        "{}: found {} without quotes, expected them around text with a #, which else begins a comment that hides the",
        b"colors: {sgd: #0072B2}",
        b'colors: {sgd: "#0072B2"}',
    ),
    ("write {}.{}", b"sgd: {lr: 0,3}", b"sgd: {lr: 0.3}"),
    ("write {}.{}", b"training: {updates: 1,000}", b"training: {updates: 1000}"),
]


@pytest.mark.parametrize(("message", "wrong", "right"), CONFIGS)
def test_a_config_as_the_message_says_is_read(tmp_path, message, wrong, right):
    path = tmp_path / "study.yaml"

    def steps():
        for content in (wrong, right):
            path.write_bytes(content)
            yield lambda: config_files.read_config(path)

    follow(message, steps, None)


@follows("config: {}: found {}, expected ~ or the ~NAME of a user of this machine; write the path in full, or ./~NAME")
def a_home_of_nobody(tmp_path):
    for path in ("~nobody_of_this_name/data", str(tmp_path / "data"), "./~nobody_of_this_name/data", "~/data"):
        yield lambda path=path: config_files.with_homes({"data_folder": path, "datasets": {}})


@follows(
    "config: {}: found no study, expected a name of its own, so that it never writes into the results of another; add"
)
def a_config_without_a_name(tmp_path):
    default, own = tmp_path / "config.yaml", tmp_path / "own.yaml"
    default.write_text("study: digits\n")
    own.write_text("device: cpu\n")
    yield lambda: config_files.study_config(default, [own], {}, False)
    own.write_text("device: cpu\nstudy: mine\n")
    yield lambda: config_files.study_config(default, [own], {}, False)


@follows(
    "found {}, but no {}.py in the working directory and no installed module {}; expected either; put the file there"
)
def code_that_is_elsewhere(tmp_path):
    yield lambda: network_code("nets_not_there:net", [tmp_path])
    (tmp_path / "nets_not_there.py").write_text("def net(): pass\n")
    yield lambda: network_code("nets_not_there:net", [tmp_path])


@follows("found {}, but nothing called {} in {}{}; expected a function of that name; write it there, or name another")
def a_function_that_is_not_there(tmp_path):
    file = tmp_path / "nets_of_others.py"
    file.write_text("def network(): pass\n")
    yield lambda: network_code("nets_of_others:netwrok", [tmp_path])
    yield lambda: network_code("nets_of_others:network", [tmp_path])
    file.write_text("from torchvision.models import resnet18 as netwrok\n")
    yield lambda: network_code("nets_of_others:netwrok", [tmp_path])


@follows("found {}, whose code is not valid Python ({}, line {}: {}); mend it")
def code_that_is_no_python(tmp_path):
    (tmp_path / "nets_wrong.py").write_text("def net(:\n")
    yield lambda: network_code("nets_wrong:net", [tmp_path])
    (tmp_path / "nets_wrong.py").write_text("def net(): pass\n")
    yield lambda: network_code("nets_wrong:net", [tmp_path])


@follows("{}: found {}, expected UTF-8, or an encoding that its first line names as `# -*- coding: latin-1 -*-` does;")
def code_in_another_encoding(tmp_path):
    text, file = "# Gr\u00fc\u00dfe\ndef net(): pass\n", tmp_path / "nets_encoded.py"
    file.write_bytes(text.encode("latin-1"))
    yield lambda: network_code("nets_encoded:net", [tmp_path])
    file.write_text(text, encoding="utf-8")
    yield lambda: network_code("nets_encoded:net", [tmp_path])
    file.write_bytes(f"# -*- coding: latin-1 -*-\n{text}".encode("latin-1"))
    yield lambda: network_code("nets_encoded:net", [tmp_path])


@follows("{}: found a zero byte in line {}, expected text, as Python reads it; mend the file")
def code_with_a_zero_byte(tmp_path):
    (tmp_path / "nets_zero.py").write_bytes(b"def net(): pass\n\0\0")
    yield lambda: network_code("nets_zero:net", [tmp_path])
    (tmp_path / "nets_zero.py").write_bytes(b"def net(): pass\n")
    yield lambda: network_code("nets_zero:net", [tmp_path])


# A study that was edited while it runs


@pytest.mark.parametrize(
    "message",
    [
        "error: {}: edited since the study started; expected what the study started with, so that every file",
        "expected what the study started with, so that every file is made by what it says; take the edit back, or let",
    ],
)
def test_an_edit_that_is_taken_back_or_a_new_start_lets_the_jobs_run(tmp_path, message):
    notes, environment, config = tmp_path / "code", {}, {"lr": 1}
    started.write_start(notes, {}, {}, config, environment)

    def check(config):
        started.check_config(started.start_of_jobs(notes, environment), config)

    def steps():
        yield lambda: check({"lr": 2})
        yield lambda: check({"lr": 1})  # taken back
        started.write_start(notes, {}, {}, {"lr": 2}, environment)
        yield lambda: check({"lr": 2})  # started again

    follow(message, steps, None)


@cases_of(__name__)
def test_the_advice_is_followed(message, case, request):
    follow(message, case, request)
