"""Figures as files say what they were drawn from, and by which settings and code."""

import hashlib

import pytest

from mcoherence.audit.origins import read_provenance
from mcoherence.errors import UserError
from mcoherence.figures.panels import message_figure
from mcoherence.figures.saving import save_figure
from mcoherence.files.provenance import provenance


def test_both_files_say_what_they_were_drawn_from(tmp_path):
    table = tmp_path / "coherence.parquet"
    table.write_bytes(b"rows")
    origin = provenance({"dpi": 60}, [table], code="0123")
    save_figure(message_figure("nothing"), tmp_path / "f.png", tmp_path / "f.pdf", 60, origin)
    sha256 = hashlib.sha256(b"rows").hexdigest()
    assert origin.inputs == {str(table): sha256}
    assert read_provenance(tmp_path / "f.png") == origin
    assert sha256.encode() in (tmp_path / "f.pdf").read_bytes()


def test_a_picture_that_says_nothing_is_refused(tmp_path):
    (tmp_path / "other.png").write_bytes(b"no picture")
    for name in ("other.png", "nowhere.png"):
        with pytest.raises(UserError, match="missing, damaged or not a result file"):
            read_provenance(tmp_path / name)
