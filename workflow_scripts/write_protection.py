"""What Snakemake may not write to is one line: its own folder, and files of the study that are to be made again.

Snakemake itself ends in a traceback, or in a list of all files of the first job.
"""

import os
import sys
from pathlib import Path
from typing import Any

from mcoherence.errors import UserError
from mcoherence.files.faults import require_writable

SNAKEMAKES_FOLDER = Path(".snakemake/locks")  # which it makes at every start, a dry run too


def refuse_what_may_not_be_written() -> bool:
    """Leave with a line where Snakemake's folder is read-only, or, from now on, a file that is to be made again.

    Returns:
        Whether Snakemake is built as this expects; else it says of files what it does.
    """
    try:
        require_writable(SNAKEMAKES_FOLDER)
    except UserError as error:
        sys.exit(f"error: {error}")
    try:
        from snakemake.exceptions import ProtectedOutputException
        from snakemake.jobs import Job

        check: Any = Job.check_protected_output
    except (ImportError, AttributeError):
        return False
    if getattr(check, "in_a_line", False):
        return True

    async def check_protected_output(job: Any) -> None:
        try:
            await check(job)
        except ProtectedOutputException:
            sys.exit(f"error: {refusal_of_files([Path(str(path)) for path in job.output])}")

    check_protected_output.in_a_line = True  # type: ignore[attr-defined]
    Job.check_protected_output = check_protected_output
    return True


def refusal_of_files(files: list[Path]) -> str:
    """What to say of files that are to be made again and that Snakemake found protected: of their disk, or of one."""
    path, *others = [path for path in files if path.exists() and not os.access(path, os.W_OK)] or files
    try:
        require_writable(path.parent)
    except UserError as error:
        return str(error)
    more = f" (and {len(others)} more of its job)" if others else ""
    return (
        f"{path}: found a file that may not be written to{more}, expected one that can be made again; allow it (chmod "
        "u+w), or move it away, and run again"
    )
