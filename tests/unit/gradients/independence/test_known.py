"""What passes that were looked at say of other passes of the same form."""

from mcoherence.gradients.independence.known import KnownApart
from mcoherence.gradients.independence.trace import Calls


def calls(words, reads=False):
    return Calls(words.encode(), reads, False, ())


def test_sizes_are_known_whose_passes_call_the_same():
    known = KnownApart()
    known.take("images", 4, calls("sin"))
    known.take("images", 12, calls("sin"))
    assert known.is_known("images", 4)
    assert known.is_known("images", 12)
    assert not known.is_known("images", 8)
    assert not known.is_known("texts", 4)


def test_nothing_is_known_any_more_once_a_pass_calls_something_else_or_is_not_known():
    for other in (calls("cos"), None):
        known = KnownApart()
        known.take("images", 4, calls("sin"))
        known.take("images", 12, other)
        assert not known.is_known("images", 4)
        assert not known.may_be("images")
        known.take("images", 4, calls("sin"))
        assert not known.may_be("images")


def test_a_first_pass_that_is_not_known_settles_it():
    known = KnownApart()
    assert known.may_be("images")
    known.take("images", 4, None)
    known.take("images", 4, calls("sin"))
    assert not known.may_be("images")


def test_forms_whose_passes_read_values_of_examples_are_told():
    known = KnownApart()
    known.take("images", 4, calls("sin"))
    known.take("texts", 4, calls("sin", reads=True))
    assert known.is_known("texts", 4)
    assert known.reads("texts")
    assert not known.reads("images")
    assert not known.reads("sounds")
