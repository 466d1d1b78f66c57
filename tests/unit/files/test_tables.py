"""Tables on disk: both forms hold the same rows, and a change to either is seen."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mcoherence.errors import UserError
from mcoherence.files.tables import check_table, read_table, write_table

TABLE = pd.DataFrame(
    {
        "model": ["mlp", None, "cnn"],
        "step": np.array([0, 1, 2], dtype=np.int64),
        "loss": np.array([0.1, np.nan, 1 / 3]),
        "diverged": [False, True, False],
    }
)


@pytest.fixture
def written(tmp_path):
    """The paths of both forms of TABLE."""
    write_table(TABLE, tmp_path / "t.csv", tmp_path / "t.parquet")
    return tmp_path / "t.csv", tmp_path / "t.parquet"


def test_both_forms_hold_the_rows_and_equal_tables_give_equal_bytes(written, tmp_path):
    csv, parquet = written
    pd.testing.assert_frame_equal(pd.read_parquet(parquet), TABLE)
    pd.testing.assert_frame_equal(read_table(parquet), TABLE)
    assert csv.read_text() == ("model,step,loss,diverged\nmlp,0,0.1,False\n,1,,True\ncnn,2,0.3333333333333333,False\n")
    write_table(TABLE.copy(), tmp_path / "u.csv", tmp_path / "u.parquet")
    assert (tmp_path / "u.parquet").read_bytes() == parquet.read_bytes()
    check_table(parquet)


@pytest.mark.parametrize("rows", [0, 1, 70_000])
def test_a_table_of_any_length_passes_as_written(rows, tmp_path):
    long = pd.DataFrame({"step": np.arange(rows), "model": ["mlp"] * rows})
    write_table(long, tmp_path / "t.csv", tmp_path / "t.parquet")
    check_table(tmp_path / "t.parquet")


def test_a_number_changed_in_the_csv_file_is_refused(written):
    csv, parquet = written
    csv.write_text(csv.read_text().replace("0.1", "0.2"))
    with pytest.raises(UserError, match=r"t\.csv: changed since it was made, expected the rows that were written"):
        check_table(parquet)


@pytest.mark.parametrize(
    "changed",
    [
        TABLE.assign(loss=[0.1, np.nan, np.nextafter(1 / 3, 1)]),
        TABLE.iloc[[1, 0, 2]],
        TABLE.iloc[:2],
        TABLE.rename(columns={"loss": "error"}),
    ],
)
def test_rows_changed_under_the_seal_are_refused(written, changed):
    _, parquet = written
    seal = pq.read_schema(parquet).metadata
    rows = pq.read_table(parquet).from_pandas(changed, preserve_index=False)
    pq.write_table(rows.replace_schema_metadata(seal), parquet)
    for read in (check_table, read_table):
        with pytest.raises(UserError, match=r"t\.parquet: damaged, changed or no table of this study"):
            read(parquet)


def test_a_table_without_a_seal_or_without_a_file_is_refused(written, tmp_path):
    _, parquet = written
    TABLE.to_parquet(parquet, index=False)
    with pytest.raises(UserError, match=r"damaged, changed or no table of this study .*no seal.*; delete both forms"):
        check_table(parquet)
    with pytest.raises(UserError, match=r"nowhere\.parquet: not found"):
        read_table(tmp_path / "nowhere.parquet")
