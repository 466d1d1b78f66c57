"""Small files of values as text, written atomically: JSON, with or without a seal, and CSV."""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mcoherence.errors import first_line
from mcoherence.files.atomic import atomic_path, write_text
from mcoherence.files.faults import FileFaultError, require_readable
from mcoherence.files.seals import IN_JSON, OPEN, SEAL, require_seal, sealed


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys and a final newline; NaN is refused."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_sealed_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as `write_json` does, with a seal under the key "seal"."""
    text = json.dumps({**content, SEAL: OPEN}, indent=2, sort_keys=True, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_bytes(sealed(text.encode(), IN_JSON))


def read_sealed_json(path: str | os.PathLike[str], remedy: str) -> dict[str, Any]:
    """The object that `write_sealed_json` wrote.

    Args:
        path: of the file.
        remedy: what makes it again, for the message.

    Raises:
        UserError: one line, where the file is missing, was changed or cut, or carries no seal.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        require_seal(content, IN_JSON)
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return found
    except OSError as error:
        require_readable(path, error)
        raise FileFaultError(path, f"missing or unreadable ({error.strerror})", remedy) from error
    except (ValueError, RecursionError) as error:
        raise FileFaultError(path, f"changed since it was made ({first_line(error)})", remedy) from error


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a small CSV file atomically, without pandas."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
