"""The claims as a page for a reader, from what is registered. Only `make schema` calls this."""

from collections.abc import Iterable

from mcoherence.claims.testing import Description

MARKS = ("<!-- claims: `make schema` writes all that follows -->", "<!-- end of claims -->")
HEAD = ("| claim | in short | what it says | who says it | level |", "| --- | --- | --- | --- | --- |")


def page_of_claims(text: str, claims: Iterable[Description]) -> str:
    """The page with the part between its two marks as the claims are now.

    Args:
        text: of the page.
        claims: those that are registered, in any order.
    """
    before, begin, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    return f"{before}{begin}\n\n{claims_in_markdown(claims)}\n{end}{after}"


def claims_in_markdown(claims: Iterable[Description]) -> str:
    """A table of the papers' claims and one of the further statements, a row each, by number."""
    listed = sorted(claims, key=lambda one: int(one.id[1:]))
    sections = {"P": "## P: of the papers", "E": "## E: further statements"}
    return "\n".join(
        "\n".join([title, "", *HEAD, *(_row(one) for one in listed if one.id[0] == letter), ""])
        for letter, title in sections.items()
    )


def _row(one: Description) -> str:
    cells = (one.id, one.short, one.statement, one.source, one.level)
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(words: str) -> str:
    """Words in a cell of a table, where | and * are markup."""
    return words.replace("|", "\\|").replace("*", "\\*")
