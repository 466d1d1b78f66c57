"""The claims' page names a test for every exact statement; each of these tests exists."""

import ast
from pathlib import Path

import pytest

from mcoherence.claims.identities import IDENTITIES

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.id)
def test_the_named_test_exists(identity):
    path, *names = identity.test.split("::")
    body = ast.parse((ROOT / path).read_text()).body
    for name in names:
        (found,) = (node for node in body if getattr(node, "name", None) == name)
        body = found.body
    assert isinstance(found, ast.FunctionDef)
    assert found.name.startswith("test_")
