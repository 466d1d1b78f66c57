"""What a data set of one's own returned is held against the label sets that are made of it, before training."""

import pytest

from mcoherence.audit.data_checks import check_classes
from mcoherence.errors import UserError
from tests.remedies.following import cases_of, follow, follows

NAMES = ("cat", "dog")


def checking(names=NAMES, **labels):
    return lambda: check_classes("mine", names, {"swapped": labels})


@follows("datasets.{}: found one class, expected two at least")
def of_one_class():
    yield checking(names=("cat",))
    yield checking()


@follows("labels.{}.transition: found {} rows, expected {}, one for each class of datasets.{}")
def of_a_row_too_many():
    yield checking(transition=[[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    yield checking(transition=[[1, 0], [0, 1]])


@follows("labels.{}.transition: found class {}{}, expected names of the classes of datasets.{}")
def of_a_class_that_is_none():
    yield checking(transition={"cat": "dgo"})
    yield checking(transition={"cat": "dog"})


@cases_of(__name__)
def test_what_is_refused_is_taken_once_the_advice_was_followed(message, case, request):
    follow(message, case, request)


def test_a_class_that_is_none_is_named_beside_the_one_that_was_meant():
    with pytest.raises(UserError, match=r"found class .dgo. .did you mean dog"):
        checking(transition={"cat": "dgo"})()
