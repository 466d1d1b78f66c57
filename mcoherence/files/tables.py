"""Tidy tables on disk: the same rows as CSV, for people, and as Parquet, which keeps every type and digit.

The Parquet file carries a seal of its own bytes and the digest of the CSV file. It is checked wherever a table is read,
before any other program sees the file. It also says what the table was
made by and from.
"""

import json
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mcoherence.errors import UserError, first_line
from mcoherence.files.atomic import atomic_path
from mcoherence.files.canonical import canonical_json
from mcoherence.files.digests import sha256_of
from mcoherence.files.faults import FileFaultError, require_readable
from mcoherence.files.provenance import Provenance
from mcoherence.files.seals import IN_METADATA, OPEN, require_seal, sealed

DIGESTS = "mcoherence"  # key of the metadata of the Parquet file that holds both digests
ORIGIN = "mcoherence.provenance"  # key of what the table was made by
REMEDY = "delete both forms of the table and run again"


def write_table(
    table: pd.DataFrame, csv: str | os.PathLike[str], parquet: str | os.PathLike[str], origin: Provenance | None = None
) -> None:
    """Write both forms of a table, each atomically; equal tables of equal origin give equal bytes."""
    with atomic_path(csv) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    rows = pa.Table.from_pandas(table, preserve_index=False)
    metadata = {DIGESTS: canonical_json({"csv_sha256": sha256_of(Path(csv)), "seal": f"{IN_METADATA.decode()}{OPEN}"})}
    if origin is not None:
        metadata[ORIGIN] = canonical_json(origin.as_attributes())
    written = pa.BufferOutputStream()
    with pq.ParquetWriter(written, rows.schema) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata(metadata)
    with atomic_path(parquet) as temporary:
        temporary.write_bytes(sealed(written.getvalue().to_pybytes(), IN_METADATA))


def read_table(parquet: str | os.PathLike[str]) -> pd.DataFrame:
    """The rows of a table, from its Parquet file.

    Raises:
        UserError: one line, where the file is missing, damaged, changed, or none that `write_table` wrote.
    """
    return _checked(Path(parquet))[0]


def provenance_of_table(parquet: Path) -> Provenance:
    """What a table says that it was made by; KeyError where it says nothing, OSError or ValueError where it is none."""
    content = parquet.read_bytes()
    require_seal(content, IN_METADATA)
    return Provenance.from_attributes(json.loads(pq.read_metadata(pa.BufferReader(content)).metadata[ORIGIN.encode()]))


def check_table(parquet: Path) -> None:
    """Check that both forms of a table are as they were written.

    Raises:
        UserError: one line about the form that was changed, is missing, or carries no seal.
    """
    expected = _checked(parquet)[1]
    csv = parquet.with_suffix(".csv")
    try:
        found = sha256_of(csv)
    except OSError as error:
        require_readable(csv, error)
        raise FileFaultError(csv, f"missing or unreadable ({error.strerror})", REMEDY) from error
    if found != expected:
        raise UserError(f"{csv}: changed since it was made, expected the rows that were written; {REMEDY}")


def column_names(parquet: Path) -> list[str]:
    """The names of the columns of a table; errors of `read_table`."""
    return [str(name) for name in _checked(parquet)[0].columns]


def _checked(parquet: Path) -> tuple[pd.DataFrame, str]:
    """The rows, and the SHA-256 of the CSV file."""
    try:
        content = parquet.read_bytes()
        require_seal(content, IN_METADATA)
        file = pq.ParquetFile(pa.BufferReader(content))
        return file.read().to_pandas(), str(json.loads(file.metadata.metadata[DIGESTS.encode()])["csv_sha256"])
    except FileNotFoundError as error:
        raise UserError(f"{parquet}: not found, expected a Parquet table; run the study again") from error
    except OSError as error:  # pyarrow's are without a number
        require_readable(parquet, error)
        reason = first_line(error)
        raise FileFaultError(parquet, f"damaged, changed or no table of this study ({reason})", REMEDY) from error
    # What pyarrow makes of a file that is none of its own; NotImplementedError is its word for an unknown type.
    except (ValueError, LookupError, TypeError, AttributeError, MemoryError, NotImplementedError) as error:
        reason = first_line(error)
        raise FileFaultError(parquet, f"damaged, changed or no table of this study ({reason})", REMEDY) from error
