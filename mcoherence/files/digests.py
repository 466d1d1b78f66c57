"""Digests of files, and of text as a name.

This module is read when Snakemake parses the workflow, so it imports nothing heavy.
"""

import hashlib
from pathlib import Path

SHORT_DIGEST = 16  # hexadecimal digits: 64 bits, of which a study's few thousand do not meet


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_digest(text: str) -> str:
    """The first SHORT_DIGEST digits of the SHA-256 of a text: a name for all that the text says."""
    return hashlib.sha256(text.encode()).hexdigest()[:SHORT_DIGEST]
