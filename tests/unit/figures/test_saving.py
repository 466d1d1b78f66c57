"""Figures as files say what they were drawn from."""

import hashlib

import pytest

from mcoherence.errors import UserError
from mcoherence.figures.panels import message_figure
from mcoherence.figures.saving import read_sources, save_figure


def test_both_files_say_what_they_were_drawn_from(tmp_path):
    table = tmp_path / "coherence.parquet"
    table.write_bytes(b"rows")
    save_figure(message_figure("nothing"), tmp_path / "f.png", tmp_path / "f.pdf", 60, [table])
    sha256 = hashlib.sha256(b"rows").hexdigest()
    assert read_sources(tmp_path / "f.png") == {str(table): sha256}
    assert sha256.encode() in (tmp_path / "f.pdf").read_bytes()


def test_a_picture_that_says_nothing_is_refused(tmp_path):
    (tmp_path / "other.png").write_bytes(b"no picture")
    for name in ("other.png", "nowhere.png"):
        with pytest.raises(UserError, match="missing, damaged or no figure of this study"):
            read_sources(tmp_path / name)
