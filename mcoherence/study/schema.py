"""The parts of the config's schema, and of the documentation, that follow from tables in the code.

`make schema` writes them into the files, in place, and a test holds the files to it; all else there is written by hand.
So an entry of such a table is all that a new name in the config needs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mcoherence.optim.methods import METHODS, Method
from mcoherence.study.catalogue import EXPERIMENTS

INDENT = "  "


@dataclass(frozen=True)
class GeneratedPart:
    """A value of the schema that is generated.

    pointer: the keys that lead to it; levels: how many levels of objects and lists are written with a line for each
    member, what is deeper in one line; value: what it is.
    """

    pointer: tuple[str, ...]
    levels: int
    value: Any


def generated_parts() -> tuple[GeneratedPart, ...]:
    """Every part of the schema that follows from a table."""
    return (
        GeneratedPart(
            ("$defs", "methods"), 4, {"$defs": {name: settings_of(name, entry) for name, entry in METHODS.items()}}
        ),
        GeneratedPart(("properties", "optimizers", "additionalProperties"), 2, optimizer_entry(METHODS)),
        GeneratedPart(("properties", "experiments", "items"), 1, {"enum": list(EXPERIMENTS)}),
        *(
            GeneratedPart(("properties", name), 3, experiment.schema)
            for name, experiment in EXPERIMENTS.items()
            if experiment.schema is not None
        ),
    )


def settings_of(name: str, method: Method) -> dict[str, Any]:
    """The schema of an entry of `optimizers` that uses the method of this name."""

    def shared(key: str, default: Any) -> dict[str, Any]:
        return {"$ref": f"#/$defs/{key}", "default": default}

    momentum = {"momentum": shared("momentum", 0), "nesterov": shared("nesterov", False)}
    allow_momentum = {"allow_momentum": shared("allow_momentum", False)}
    properties = {
        "method": {"const": name},
        "lr": {"$ref": "#/$defs/lr"},
        **method.settings,
        **(momentum if method.has_momentum else {}),
        **({} if method.allows_momentum else allow_momentum),
        "weight_decay": shared("weight_decay", 0),
        "schedule": shared("schedule", {"kind": "constant"}),
        "for_models": shared("optimizer_for_models", {}),
        "start": {"$ref": "#/$defs/start"},
    }
    required = {"required": list(method.required)} if method.required else {}
    return {
        "type": "object",
        "additionalProperties": False,
        **required,
        "properties": properties | dict(method.settings),  # which has the last word
    }


def optimizer_entry(methods: Mapping[str, Method]) -> dict[str, Any]:
    """The schema that sends an entry of `optimizers` to that of its method."""
    words = "; ".join(f"{name}: {method.words}" for name, method in methods.items())
    return {
        "type": "object",
        "required": ["method", "lr"],
        "properties": {"method": {"enum": list(methods), "description": f"The update rule. {words}."}},
        "allOf": [
            {"if": {"properties": {"method": {"const": name}}}, "then": {"$ref": f"#/$defs/methods/$defs/{name}"}}
            for name in methods
        ],
    }


def rewritten_schema(text: str) -> str:
    """The schema's text with its generated parts as the tables say now; all other characters stay.

    A part that the schema lacks, as the section of a new experiment does, is added to the object that it belongs in.
    """
    for part in generated_parts():
        text = with_member(text, part.pointer)
        start, end = span_of(text, part.pointer)
        text = text[:start] + formatted(part.value, part.levels, len(part.pointer)) + text[end:]
    return text


def with_member(text: str, pointer: tuple[str, ...]) -> str:
    """A JSON text in which the last key of the pointer stands: as it was, or null as the last member of its object.

    Raises:
        KeyError: the object that it belongs in is not there.
    """
    *parents, key = pointer
    start, end = span_of(text, tuple(parents))
    members = json.loads(text[start:end])
    if key in members:
        return text
    before = text[: end - 1].rstrip()
    line = "\n" + INDENT * len(parents)
    return f"{before}{',' if members else ''}{line}{INDENT}{json.dumps(key)}: null{line}{text[end - 1 :]}"


def span_of(text: str, pointer: tuple[str, ...]) -> tuple[int, int]:
    """Where in a JSON text the value lies that the keys lead to: (start, end).

    Raises:
        KeyError: there is no such value.
    """
    read = json.JSONDecoder().raw_decode
    start, end = 0, len(text.rstrip())
    for key in pointer:
        position = start + 1
        while True:
            name, position = read(text, _next(text, position, " \t\r\n,"))
            start = _next(text, position, " \t\r\n:")
            _, end = read(text, start)
            if name == key:
                break
            position = _next(text, end)
            if text[position] == "}":
                raise KeyError(".".join(pointer))
    return start, end


def _next(text: str, position: int, skipped: str = " \t\r\n") -> int:
    """The first position from here on that holds no skipped character."""
    while text[position] in skipped:
        position += 1
    return position


def formatted(value: Any, levels: int, depth: int) -> str:
    """JSON as the schema is laid out: members on lines of their own down to `levels`, indented from `depth` on."""
    nested = isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(one, Mapping) for one in value))
    if not (levels and value and nested):
        return json.dumps(value, ensure_ascii=False)
    inner, outer = "\n" + INDENT * (depth + 1), "\n" + INDENT * depth
    if isinstance(value, Mapping):
        members = [f"{json.dumps(key)}: {formatted(one, levels - 1, depth + 1)}" for key, one in value.items()]
        return "{" + inner + f",{inner}".join(members) + outer + "}"
    return "[" + inner + f",{inner}".join(formatted(one, levels - 1, depth + 1) for one in value) + outer + "]"


METHODS_MARKS = ("<!-- methods: `make schema` writes this table -->", "<!-- end of methods -->")
EXPERIMENTS_MARKS = ("<!-- experiments: `make schema` writes this table -->", "<!-- end of experiments -->")


def table_of_experiments() -> str:
    """The documentation's table of the experiments, in Markdown."""
    rows = [
        f"| `{name}` | {_first_sentence(name)} | {', '.join(f'`{one}`' for one in experiment.sections)} | "
        f"{', '.join(f'`{one}`' for one in experiment.needs) or 'none'} |"
        for name, experiment in EXPERIMENTS.items()
    ]
    header = ["| experiment | what it is | sections that describe it | needs beside it |", "| --- | --- | --- | --- |"]
    return "\n".join([*header, *rows])


def _first_sentence(experiment: str) -> str:
    """What the module of an experiment says first of it."""
    docstring = import_module(f"mcoherence.study.experiments.{experiment}").__doc__ or ""
    return docstring.splitlines()[0]


def table_of_methods() -> str:
    """The documentation's table of the methods, in Markdown."""
    rows = [
        f"| `{name}` | {method.words} | {_settings_in_words(method)} | {method.source} |"
        for name, method in METHODS.items()
    ]
    return "\n".join(["| `method` | what it is | settings (default) | source |", "| --- | --- | --- | --- |", *rows])


def _settings_in_words(method: Method) -> str:
    """The settings of a method's own with their defaults, and whether it takes momentum."""
    own = [
        f"`{key}` ({json.dumps(schema['default'])})" if "default" in schema else f"`{key}`"
        for key, schema in method.settings.items()
    ]
    momentum = ["`momentum` (0)" + ("" if method.allows_momentum else " with `allow_momentum`")]
    return ", ".join(own + (momentum if method.has_momentum else []))


def rewritten_page(text: str) -> str:
    """A page of the documentation with its generated tables as they are now, each between its two comments."""
    for (begin_mark, end_mark), table in (
        (METHODS_MARKS, table_of_methods()),
        (EXPERIMENTS_MARKS, table_of_experiments()),
    ):
        before, begin, rest = text.partition(begin_mark)
        _, end, after = rest.partition(end_mark)
        if begin and end:
            text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return text
