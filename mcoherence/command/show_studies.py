"""The claims of a study, and two studies side by side, as lines of text; for `show`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcoherence.command.columns import four_digits, in_columns, rows_of_settings
from mcoherence.errors import UserError


def _claims(path: Path) -> dict[str, Mapping[str, Any]]:
    from mcoherence.claims.stored import read_claims

    return {one["id"]: one for one in read_claims(path, path.with_suffix(".html"))["claims"]}


def lines_of_claims(path: Path) -> Iterator[str]:
    """The claims of a study, a line each."""
    yield f"{path}"
    rows = [["claim", "verdict", "value", "statement"]]
    rows += [[name, one["verdict"], _value(one), one["statement"]] for name, one in _claims(path).items()]
    yield from in_columns(rows)


def lines_of_study(folder: Path) -> Iterator[str]:
    """The claims of the study in this folder."""
    return lines_of_claims(_claims_file(folder))


def _value(claim: Mapping[str, Any]) -> str:
    return "-" if claim.get("value") is None else four_digits(float(claim["value"]))


def lines_of_two(first: Path, second: Path, everything: bool) -> Iterator[str]:
    """Claims, then settings, of two studies; * marks what differs."""
    studies = [(_claims_of(folder), dict(rows_of_settings(_config(folder)))) for folder in (first, second)]
    (claims_a, config_a), (claims_b, config_b) = studies
    names = [first.name, second.name] if first.name != second.name else [str(first), str(second)]
    rows = [["", "claim", *names, "value", "value", "statement"]]
    for name in dict.fromkeys([*claims_a, *claims_b]):
        a, b = claims_a.get(name), claims_b.get(name)
        verdicts = ["(not made)" if one is None else str(one["verdict"]) for one in (a, b)]
        values = ["" if one is None else _value(one) for one in (a, b)]
        statement = str((a or b or {})["statement"])
        rows.append([_mark(verdicts), name, *verdicts, *values, statement])
    yield from in_columns(rows)
    rows = [["", "setting", *names]]
    same = 0
    for key in sorted({*config_a, *config_b}):
        pair = [config_a.get(key, "(none)"), config_b.get(key, "(none)")]
        same += pair[0] == pair[1]
        if everything or pair[0] != pair[1]:
            rows.append([_mark(pair), key, *pair])
    yield ""
    yield from in_columns(rows)
    yield f"{same} settings are the same{'' if everything else '; --all shows them too'}; * marks what differs"


def _mark(pair: Sequence[str]) -> str:
    return "*" if pair[0] != pair[1] else ""


def _claims_of(folder: Path) -> dict[str, Mapping[str, Any]]:
    return _claims(_claims_file(folder))


def _claims_file(folder: Path) -> Path:
    if not (folder / "claims.json").is_file():
        raise UserError(
            f"{folder}: found no claims.json, expected the folder of a finished study, such as results/NAME"
        )
    return folder / "claims.json"


def _config(folder: Path) -> Mapping[str, Any]:
    """The config of a study, once its page has vouched for it."""
    from mcoherence.files.faults import REMEDY
    from mcoherence.files.page import check_page

    path = folder / "config.json"
    check_page(folder / "study.html", [path], REMEDY)
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
