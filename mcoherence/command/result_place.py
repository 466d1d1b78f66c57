"""Where the result of a command may be written, asked before hours of work."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from mcoherence.errors import UserError


def require_place(path: Path, *suffixes: str, option: str = "--out", inputs: Iterable[Path] = ()) -> None:
    """UserError unless a result can be written to a path, before hours of work, and nothing of the user's is lost.

    Args:
        path: of the result. A file that is there is replaced where mcoherence wrote it, see `is_own_result`; so is the
            other form of a table or figure.
        suffixes: that it may end with.
        option: that names it.
        inputs: files that are read, which the result must not replace.
    """
    from mcoherence.files.whose import forms_of, is_own_result

    inputs = list(inputs)
    if path.suffix not in suffixes:
        raise UserError(f"{option}: found {path.name}, expected a name that ends with {' or '.join(suffixes)}")
    if path.is_dir():
        raise UserError(f"{option}: found the folder {path}, expected a file; name one in it")
    there = next(folder for folder in path.absolute().parents if folder.exists())  # the rest is made when it is written
    if not there.is_dir():
        raise UserError(f"{option}: found the file {there} in the place of a folder; name another folder")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(
            f"{option}: found {there}, in which this user cannot write ({error.strerror}); name another folder"
        ) from error
    for form in forms_of(path):
        if any(one.exists() and form.exists() and one.samefile(form) for one in inputs):
            raise UserError(f"{option}: found {form}, which is read as well, expected another file; name a new one")
        if os.path.lexists(form) and not is_own_result(form):
            raise UserError(
                f"{option}: found {form}, which mcoherence has not written, or not as it is now, expected a new name "
                "or a result to replace; name another, or move it away"
            )
