"""Every message that advises something has a test which does what it says, or a reason why none can here."""

import ast
from functools import cache
from pathlib import Path

import yaml

from tests.remedies.messages import ORDERS, STATEMENTS, advice, heads, raised

ROOT = Path(__file__).parents[2]
HERE = ROOT / "tests/remedies"
ELSEWHERE = yaml.safe_load((HERE / "elsewhere.yaml").read_text())
SHORTEST = 15  # characters of a text of a test that names a message


@cache
def followed_here() -> frozenset[str]:
    """The texts of the tests that follow advice, among them the messages, each as a part of what the code has."""
    texts = {row[0] for row in yaml.safe_load((HERE / "configs.yaml").read_text())}
    for path in (ROOT / "tests/unit").rglob("test_*.py"):
        source = path.read_text()
        if "from tests.remedies.following import" in source and path != Path(__file__):
            constants = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
            texts |= {node.value for node in constants if isinstance(node.value, str) and len(node.value) >= SHORTEST}
    return frozenset(texts)


def named_by(text: str) -> list[str]:
    """The messages that a text is a part of; the one that it is, if it is one."""
    return [text] if text in advice() else [message for message in advice() if text in message]


def test_every_message_with_advice_has_a_test_that_follows_it_or_a_reason():
    named = {tuple(named_by(text)) for text in followed_here() | ELSEWHERE.keys()}
    has_one = {messages[0] for messages in named if len(messages) == 1}
    missing = [f"{message!r} ({places[0]})" for message, places in advice().items() if message not in has_one]
    assert missing == [], "write a test that does what it says, by follows() of tests/remedies/following.py"


def test_what_is_said_of_other_tests_is_of_one_message_each_and_the_tests_are_there():
    assert {text: named_by(text) for text in ELSEWHERE if len(named_by(text)) != 1} == {}
    for said in ELSEWHERE.values():
        ((kind, value),) = said.items()
        assert kind in ("test", "excused")
        if kind == "test":
            path, name = value.split("::")
            functions = {node.name for node in ast.walk(ast.parse((ROOT / path).read_text())) if hasattr(node, "name")}
            assert name in functions, value


def test_what_begins_a_clause_of_a_message_is_known_to_order_or_to_explain():
    unknown = {word: message for message in raised() for word in heads(message) if word not in ORDERS | STATEMENTS}
    assert unknown == {}, "put the word among the orders or the statements of tests/remedies/words.yaml"


def test_there_are_many():
    assert len(advice()) > 250
