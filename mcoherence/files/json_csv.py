"""Small files of values as text, written atomically: JSON and CSV."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcoherence.files.atomic import atomic_path, write_text


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys and a final newline; NaN is refused."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a small CSV file atomically, without pandas."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
