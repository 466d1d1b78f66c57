"""What is known of a job that ran: seconds and memory, by whoever could see them."""

import math
from pathlib import Path

import pytest

from mcoherence.audit.job_records import JobRecord, read_record
from mcoherence.audit.peak_memory import peak_memory_file
from mcoherence.errors import UserError
from mcoherence.files.atomic import write_text

JOB = Path("train/digits/seed0")


def record(results, row, of_copy=None):
    write_text(results / "benchmarks" / f"{JOB}.tsv", f"s\th:m:s\tmax_rss\n{row}\n")
    if of_copy is not None:
        write_text(peak_memory_file(results / "logs" / f"{JOB}.log"), of_copy)
    return read_record(results, JOB)


def test_the_memory_of_a_job_of_some_seconds_is_what_snakemake_sampled(tmp_path):
    assert record(tmp_path, "12.5\t0:00:12\t431.2") == JobRecord(12.5, 431.2, is_copy=False)


def test_that_of_a_shorter_one_is_unknown_for_it_may_have_been_sampled_before_it_grew(tmp_path):
    assert math.isnan(record(tmp_path, "0.9\t0:00:00\t20.0").peak_mb)


def test_and_so_is_that_of_one_that_was_never_sampled(tmp_path):
    assert math.isnan(record(tmp_path, "1.2\t0:00:01\t-").peak_mb)


def test_that_of_a_copy_is_its_own_and_not_that_of_the_client_that_snakemake_sees(tmp_path):
    assert record(tmp_path, "0.9\t0:00:00\t20.0", of_copy="302.3\n") == JobRecord(0.9, 302.3, is_copy=True)


@pytest.mark.parametrize("content", [b"", b"s\n", b"s\tmax_rss\nx\t1\n", b"t\n1\n", b"s\n\xff\n", b"s\n1\x00\n"])
def test_a_damaged_record_is_one_line(tmp_path, content):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/train.tsv").write_bytes(content)
    with pytest.raises(UserError, match=r"train\.tsv: damaged .* delete the file"):
        read_record(tmp_path, Path("train"))
