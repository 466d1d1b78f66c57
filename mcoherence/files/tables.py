"""Tidy tables on disk: the same rows as CSV, for people, and as Parquet, which keeps every type and digit.

The Parquet file carries a seal: digests of its own rows and of the CSV file. A report is not written from tables that
were changed after they were made. It also says what it was made by and from.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mcoherence.errors import UserError
from mcoherence.files.atomic import atomic_path
from mcoherence.files.canonical import canonical_json
from mcoherence.files.digests import sha256_of
from mcoherence.files.provenance import Provenance

SEAL = b"mcoherence"  # key of the seal in the metadata of the Parquet file
ORIGIN = b"mcoherence.provenance"  # key of what the table was made by
ROWS = 65_536  # hashed at a time
REMEDY = "delete both forms of the table and run again"


def write_table(table: pd.DataFrame, csv: Path, parquet: Path, origin: Provenance | None = None) -> None:
    """Write both forms of a table, each atomically, with a seal and with what it was made by."""
    with atomic_path(csv) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    rows = pa.Table.from_pandas(table, preserve_index=False)
    seal = {"csv_sha256": sha256_of(csv), "rows_sha256": digest_of_rows(rows.column_names, rows.to_batches(ROWS))}
    metadata = {**(rows.schema.metadata or {}), SEAL: canonical_json(seal)}
    if origin is not None:
        metadata[ORIGIN] = canonical_json(origin.as_attributes())
    sealed = rows.replace_schema_metadata(metadata)
    with atomic_path(parquet) as temporary:
        pq.write_table(sealed, temporary)


def digest_of_rows(columns: Iterable[str], batches: Iterable[pa.RecordBatch]) -> str:
    """SHA-256 of the columns' names and of a hash of every row, however the rows are batched."""
    digest = hashlib.sha256(canonical_json(list(columns)).encode())
    for batch in batches:
        hashes = pd.util.hash_pandas_object(batch.to_pandas(), index=False)
        digest.update(hashes.to_numpy(dtype=np.uint64).tobytes())
    return digest.hexdigest()


def provenance_of_table(parquet: Path) -> Provenance:
    """What a table says that it was made by; KeyError where it says nothing, OSError or ValueError where it is none."""
    return Provenance.from_attributes(json.loads(pq.read_schema(parquet).metadata[ORIGIN]))


def check_table(parquet: Path) -> None:
    """Check that both forms of a table are as they were written.

    Raises:
        UserError: one line about the form that was changed, or that carries no seal.
    """
    try:
        file = pq.ParquetFile(parquet)
        seal = json.loads(file.schema_arrow.metadata[SEAL])
        rows = digest_of_rows(file.schema_arrow.names, file.iter_batches(ROWS))
        csv = sha256_of(parquet.with_suffix(".csv"))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{parquet}: missing, damaged or no table of this study ({error!r}); {REMEDY}") from error
    for path, found, expected in (
        (parquet, rows, seal["rows_sha256"]),
        (parquet.with_suffix(".csv"), csv, seal["csv_sha256"]),
    ):
        if found != expected:
            raise UserError(f"{path}: changed since it was made, expected the rows that were written; {REMEDY}")
