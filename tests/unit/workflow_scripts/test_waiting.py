"""A file that training waits for is no reason to train again, and is no input where Snakemake would take it for one."""

import pytest
import snakemake.persistence
from snakemake.persistence import PersistenceBase

from workflow_scripts.comparing import NOT_MADE, Comparison
from workflow_scripts.waiting import pass_over_inputs

MADE_FROM = ["data/images.h5", "results/checks/mine.json"]


class Persistence(PersistenceBase):
    """As much of Snakemake's as is asked for: an output that two files made by its record, and a job that is inputs."""

    def __init__(self):
        pass

    def record_format_version(self, path):
        return 6

    def input(self, path):
        return MADE_FROM

    def _input(self, job):
        return job


Persistence.__abstractmethods__ = frozenset()


@pytest.fixture(autouse=True)
def snakemake_as_before(monkeypatch):
    """Undoes what is changed of Snakemake."""
    for name in ("_input_changed", "has_metadata", "metadata"):
        monkeypatch.setattr(PersistenceBase, name, getattr(PersistenceBase, name))


def test_inputs_that_were_waited_for_are_passed_over():
    assert Persistence()._input_changed(MADE_FROM[:1], "output")  # the reason for this module
    assert pass_over_inputs("results/checks/")
    assert not Persistence()._input_changed(MADE_FROM[:1], "output")
    assert not Persistence()._input_changed([*MADE_FROM, "results/checks/other.json"], "output")
    assert Persistence()._input_changed(["data/other.h5", MADE_FROM[1]], "output")


def test_it_does_not_hang_on_the_records_being_kept_as_today(monkeypatch, tmp_path):
    monkeypatch.delattr(snakemake.persistence, "RECORD_FORMAT_VERSION")
    assert pass_over_inputs("results/checks/")
    assert Comparison(tmp_path, changed=lambda path: "").install() == NOT_MADE
    assert not Persistence()._input_changed(MADE_FROM[:1], "output")


def test_where_snakemake_compares_inputs_otherwise_it_says_so(monkeypatch):
    monkeypatch.delattr(PersistenceBase, "_input_changed")
    assert not pass_over_inputs("results/checks/")
