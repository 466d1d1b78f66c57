"""Whose a file is: what a result may replace, and what is called damaged."""

import os
import pickle

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from mcoherence.command.result_place import require_place
from mcoherence.errors import UserError
from mcoherence.files.digests import sha256_of
from mcoherence.files.faults import FileFaultError, Hdf5FaultError, UnreadableError
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.files.pictures import sealed_picture
from mcoherence.files.tables import write_table
from mcoherence.files.whose import in_truth, is_own_result, whose

MENTION = "compare to mcoherence, /home/me/mcoherence/coherence/2 and its seal"


@pytest.fixture
def own(tmp_path):
    """A result of each kind, as this project writes it."""
    write_hdf5(tmp_path / "c.h5", "mcoherence/own_kind/1", {"x": np.ones(3)}, {})
    write_table(pd.DataFrame({"a": [1]}), tmp_path / "t.csv", tmp_path / "t.parquet")
    (tmp_path / "f.pdf").write_bytes(b"%PDF-1.7 lines")
    picture(tmp_path / "f.png", Figure="f", PDF=sha256_of(tmp_path / "f.pdf"))
    (tmp_path / "f.png").write_bytes(sealed_picture((tmp_path / "f.png").read_bytes()))
    return tmp_path


def picture(path, **texts):
    info = PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    Image.new("L", (4, 4)).save(path, pnginfo=info)


def refused(path):
    before = path.read_bytes()
    with pytest.raises(UserError, match="which mcoherence has not written, or not as it is now"):
        require_place(path, path.suffix)
    return path.read_bytes() == before


def test_results_are_replaced_in_all_their_forms(own):
    for name in ("c.h5", "t.csv", "t.parquet", "f.png"):
        require_place(own / name, (own / name).suffix)
    assert all(map(is_own_result, own.iterdir()))


def test_files_that_mention_this_project_are_replaced_by_nothing(tmp_path):
    with h5py.File(tmp_path / "big.h5", "w") as file:
        file.attrs["note"] = file.attrs["schema_of"] = MENTION
        file["text"] = f"mcoherence-seal:{'0' * 64}"
    picture(tmp_path / "n.png", Title=MENTION)
    pd.DataFrame({"mcoherence": [MENTION]}).to_parquet(tmp_path / "rows.parquet")
    save_file({"w": torch.ones(1)}, tmp_path / "w.safetensors", {"from": MENTION})
    (tmp_path / "claims.json").write_text(f'{{"seal": "{MENTION}"}}')
    for path in list(tmp_path.iterdir()):
        assert refused(path)
        assert whose(path) == "another's"  # so that nobody is told to delete it


@pytest.mark.parametrize(("form", "other"), [("notes.csv", "notes.parquet"), ("n.png", "n.pdf")])
def test_a_text_beside_a_text_that_mentions_this_project_stays(tmp_path, form, other):
    (tmp_path / form).write_text("mine")
    (tmp_path / other).write_text(MENTION)
    assert refused(tmp_path / form)


def test_the_other_form_is_replaced_only_if_the_seal_beside_it_names_it(own):
    for other, sealed in (("t.csv", "t.parquet"), ("f.pdf", "f.png")):
        (own / other).write_bytes((own / other).read_bytes() + b" and a remark of mine")
        assert is_own_result(own / sealed)
        with pytest.raises(UserError, match=f"found {own / other}, which mcoherence has not written, or not as it is"):
            require_place(own / sealed, (own / sealed).suffix)
        (own / other).unlink()
        require_place(own / sealed, (own / sealed).suffix)
        (own / other).write_bytes(b"mine")
        (own / sealed).unlink()
        assert refused(own / other)


def test_a_table_that_somebody_went_on_with_is_theirs(own):
    table = pq.read_table(own / "t.parquet")
    pq.write_table(table.append_column("b", [[2]]), own / "t.parquet")  # with all metadata, the record among them
    assert refused(own / "t.parquet")


def test_what_is_no_plain_file_is_not_replaced(own):
    os.mkfifo(own / "pipe.h5")
    (own / "link.h5").symlink_to(own / "nowhere.h5")
    (own / "folder.pdf").mkdir()
    for asked in ("pipe.h5", "link.h5", "folder.png"):
        with pytest.raises(UserError, match="which mcoherence has not written"):
            require_place(own / asked, ".h5", ".png")


def test_an_input_is_not_replaced_by_the_other_form_of_a_result(own):
    with pytest.raises(UserError, match=r"t\.csv, which is read as well"):
        require_place(own / "t.parquet", ".parquet", inputs=[own / "t.csv"])


def test_damaged_results_stay_this_projects(own):
    for name in ("c.h5", "t.parquet", "f.png"):
        content = (own / name).read_bytes()
        middle = len(content) // 2
        (own / name).write_bytes(content[:middle] + b"\0\0" + content[middle + 2 :])
        assert whose(own / name) == "ours"


def test_what_is_told_of_a_file_follows_from_the_kind_of_fault_and_whose_it_is(own):
    with h5py.File(own / "theirs.h5", "w") as file:
        file["x"] = np.ones(3)
    (own / "cut.h5").write_bytes((own / "theirs.h5").read_bytes()[:-3])
    remedy = "burn it"  # however the way out is worded
    for fault, told in (
        (FileFaultError(own / "c.h5", "odd", remedy), f"{own / 'c.h5'}: odd; burn it"),
        (FileFaultError(own / "gone.h5", "odd", remedy), f"{own / 'gone.h5'}: odd; burn it"),
        (FileFaultError(own / "theirs.h5", "odd", remedy), f"{own / 'theirs.h5'}: found a file of another program"),
        (FileFaultError(own / "cut.h5", "odd", remedy), f"{own / 'cut.h5'}: found nothing in it that says mcoherence"),
        (Hdf5FaultError(own / "t.parquet", "odd", remedy), f"{own / 't.parquet'}: found no HDF5 file, expected"),
        (UserError(f"{own / 'theirs.h5'}: delete it"), f"{own / 'theirs.h5'}: delete it"),  # no fault of a file
    ):
        assert in_truth(fault).startswith(told)


def test_faults_of_files_pass_from_process_to_process(own):
    for error in (FileFaultError(own, "odd", "burn it"), UnreadableError(own, "locked")):
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
