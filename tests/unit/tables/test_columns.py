"""Every column of a table is described."""

import pytest

from mcoherence.errors import UserError
from mcoherence.tables.dictionary import dictionary


def test_a_column_that_nothing_describes_is_refused():
    with pytest.raises(UserError, match="table accuracy: found the column 'guess'"):
        dictionary([("accuracy", ["step", "guess"])])
