"""An error in a line is laid at the door of the code that raised it, and never at that of what is installed."""

import sys
from pathlib import Path

import pytest

from mcoherence.errors import raised_at


def raise_in(file):
    """The error of a function in such a file, which need not be there."""
    found = {}
    exec(compile("def f():\n    raise ValueError('wrong')", file, "exec"), found)
    try:
        found["f"]()
    except ValueError as error:
        return error.with_traceback(error.__traceback__.tb_next)  # without the frame of this file


@pytest.mark.parametrize(
    "file",
    [
        "/usr/lib/python3/dist-packages/torch/nn/functional.py",
        "/opt/modules/torch/2.9/lib/python3.11/site-packages/torch/nn/functional.py",
        str(Path(sys.base_prefix, "lib/python3.11/site-packages/torch/nn/functional.py")),
    ],
)
def test_what_is_installed_anywhere_is_not_the_users_own(file):
    assert raised_at(raise_in(file)) is None


def test_the_users_own_is():
    place = raised_at(raise_in("/home/me/nets/mine.py"))
    assert (str(place.file), place.line, place.function, place.ours) == ("/home/me/nets/mine.py", 2, "f", False)
