"""Checks of what a reader of a study sees: figures, tables, claims and pages are as their jobs wrote them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mcoherence.claims.stored import read_claims
from mcoherence.errors import UserError
from mcoherence.files.faults import REMEDY
from mcoherence.files.page import check_page
from mcoherence.files.pictures import check_picture
from mcoherence.files.tables import check_table

Tell = Callable[[UserError], None]


def stop(fault: UserError) -> None:
    """What is done with a fault where nothing else is asked for: it is raised, and what follows is not looked at."""
    raise fault


@contextmanager
def passed_on(tell: Tell) -> Iterator[None]:
    """Tells the user's mistake that ends the block, and goes on after it."""
    try:
        yield
    except UserError as fault:
        tell(fault)


def check_shown(
    figures: Iterable[Path],
    tables: Iterable[Path],
    claims: Path,
    study: Path,
    beside: Iterable[Path],
    tell: Tell = stop,
) -> None:
    """Check that what a reader sees is as the jobs that made it wrote it.

    Args:
        figures: PNG files, with a PDF beside each.
        tables: Parquet files, with a CSV file beside each.
        claims: claims.json, with claims.html beside it.
        study: study.html.
        beside: config.json and dictionary.csv, which it was written with.
        tell: is given every fault.
    """
    for figure in figures:
        with passed_on(tell):
            check_picture(figure, figure.with_suffix(".pdf"))
    for table in tables:
        with passed_on(tell):
            check_table(table)
    with passed_on(tell):
        read_claims(claims, claims.with_suffix(".html"))
    with passed_on(tell):
        check_page(study, beside, REMEDY)


def check_front_page(results: Path, tell: Tell = stop) -> None:
    """Check that the page that tells a study is as it was written, and with the config and claims that are there."""
    with passed_on(tell):
        check_page(results / "index.html", [results / "config.json", results / "claims.json"], REMEDY)
