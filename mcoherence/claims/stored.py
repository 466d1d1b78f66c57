"""The outcome of the claims as it lies on disk, for those who know nothing of how claims are tested."""

import os
from pathlib import Path
from typing import Any

from mcoherence.errors import UserError
from mcoherence.files.digests import sha256_of
from mcoherence.files.faults import FileFaultError
from mcoherence.files.json_csv import read_sealed_json

SCHEMA = "mcoherence/claims/5"
REMEDY = "delete claims.json and claims.html and run again"


def read_claims(path: str | os.PathLike[str], page: str | os.PathLike[str]) -> dict[str, Any]:
    """What claims.json holds, once it and its page are as they were written.

    Raises:
        UserError: one line about the one that is missing or was changed, with what makes both again.
    """
    path, page = Path(path), Path(page)
    found = read_sealed_json(path, REMEDY)
    if found.get("schema") != SCHEMA:
        raise UserError(f"{path}: found schema {found.get('schema')!r}, expected {SCHEMA!r}; {REMEDY}")
    try:
        digest = sha256_of(page)
    except OSError as error:
        raise FileFaultError(page, f"missing or unreadable ({error.strerror})", REMEDY) from error
    if digest != found.get("page_sha256"):
        raise UserError(f"{page}: changed since it was made, expected the page of {path.name}; {REMEDY}")
    return found
