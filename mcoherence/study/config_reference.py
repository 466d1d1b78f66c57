"""The config's schema as a page for a reader: of every key what it is, its type, its default and an example.

Where `config.yaml`, which lies under every study, gives a key, that value stands in place of the example. An example is
the first value of the key in an entry of `config.yaml` and in the files of `studies/`; a key that none of them sets has
one in EXAMPLES. Only `make schema` calls this.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mcoherence.study.yaml_values import is_text

Schema = Mapping[str, Any]

LARGEST = 10**8  # a bound from here on keeps out what no machine could do; readers are not told
MARKS = ("<!-- keys: `make schema` writes all that follows -->", "<!-- end of keys -->")
ENTRY, MEMBER = "NAME", "[]"  # in a path: any entry of a mapping; any member of a list
# Where entries are of several kinds -> the key that says of which kind one is.
KINDS = {
    "datasets.NAME": "source",
    "models.NAME": "architecture",
    "optimizers.NAME": "method",
    "optimizers.NAME.schedule": "kind",
}
# Of keys that no study sets and that have no default.
EXAMPLES: Mapping[str, Any] = {
    "datasets.NAME.augmentation": {"crop_scale": [0.25, 1.0], "flip": 0.5},
    "datasets.NAME.test_size": 1000,
    "datasets.NAME.shape": [1, 8, 8],
    "datasets.NAME.options": {"count": 400},
    "models.NAME.options": {"width": 128},
    "labels.NAME.transition": {"3": "8", "8": "3"},
    "optimizers.NAME.schedule.warmup": {"updates": 100, "start": 0.001},
    "optimizers.NAME.schedule.warmup.updates": 100,
    "optimizers.NAME.schedule.warmup.start": 0.001,
    "optimizers.NAME.schedule.updates": 900,
    "optimizers.NAME.for_models.NAME.momentum": 0.9,
    "optimizers.NAME.for_models.NAME.weight_decay": 0.0001,
    "training.for_datasets.NAME.updates_factor": 2,
    "training.for_datasets.NAME.batch_size": 100,
    "training.for_datasets.NAME.precision": "bfloat16",
    "training.for_datasets.NAME.tf32": True,
    "training.for_datasets.NAME.segment_updates": 5000,
    "training.for_datasets.NAME.checkpoints.every_step_until": 4,
    "training.for_datasets.NAME.checkpoints.every": 1000,
    "label_noise.further[].seeds": [5, 6],
    "toy.checkpoints": [0, 1, 10, 100, 1000],
    "evaluation.every": 4,
    "evaluation.train_examples": 50000,
    "operational.training_resources": {"slurm_partition": "gpu", "runtime": "4h"},
}
# Of keys whose own schema says nothing of them.
WORDS: Mapping[str, str] = {
    "median_scale.batches[].batch_size": "Examples per mini-batch.",
    "median_scale.batches[].updates": "Optimiser steps of the runs with it.",
}


@dataclass(frozen=True)
class Key:
    """A key of the config.

    path: names from the top, with NAME for any entry of a mapping and [] for any member of a list.
    schema: of its value, references resolved.
    kinds: of the entry that it belongs to, among `all_kinds`; () where entries are all of one kind.
    kinds_of: the name of that entry.
    required: whether it has to be there where what it belongs to is.
    like: the key whose own keys are the same, "" if none before it is.
    """

    path: tuple[str, ...]
    schema: Schema
    kinds: tuple[str, ...] = ()
    all_kinds: tuple[str, ...] = ()
    kinds_of: str = ""
    required: bool = False
    like: str = ""

    @property
    def name(self) -> str:
        """The path as it is written: `training.checkpoints.every`."""
        return ".".join(self.path).replace(f".{MEMBER}", MEMBER)


def page_of_keys(text: str, schema: Schema, under: Schema, configs: Iterable[Schema]) -> str:
    """The page with the part between its two marks as the schema is now.

    Args:
        text: of the page.
        schema: of the config.
        under: contents of the config file that lies under every study.
        configs: contents of others, in which examples are looked for, the first that has one first.
    """
    before, begin, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    return f"{before}{begin}\n\n{keys_in_markdown(schema, list(configs), under)}\n{end}{after}"


def keys_in_markdown(schema: Schema, configs: Sequence[Schema], under: Schema) -> str:
    """A section for each key of the top level, in the schema's order, in Markdown."""
    sections = []
    for name, value in schema["properties"].items():
        top = Key((name,), resolved(value, schema), required=name in schema["required"])
        below = keys_below(top, schema)
        lines = [f"## `{name}`", "", _sentence(top), "", *_facts(top, configs, under), ""]
        if below:
            lines += ["| key | what it is | value |", "| --- | --- | --- |"]
            lines += [_row(key, name, configs, under) for key in below]
            lines.append("")
        sections.append("\n".join(lines))
    return "\n".join(sections)


def resolved(value: Schema, schema: Schema) -> Schema:
    """A schema without a reference at its top and for a list's items; what stands beside one counts first."""
    while "$ref" in value:
        target: Any = schema
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        value = {**target, **{key: one for key, one in value.items() if key != "$ref"}}
    if "$ref" in value.get("items", ()):
        value = {**value, "items": resolved(value["items"], schema)}
    return value


def keys_below(key: Key, schema: Schema) -> list[Key]:
    """Every key below one, each once, with the kinds of entry that have it."""
    found: dict[tuple[tuple[str, ...], str], Key] = {}
    for one in _keys_below(key, schema, {}):
        place = (one.path, json.dumps(one.schema, sort_keys=True))
        before = found.get(place)
        kinds = one.kinds if before is None else tuple(dict.fromkeys((*before.kinds, *one.kinds)))
        found[place] = replace(before or one, kinds=kinds)
    return list(found.values())


def _keys_below(key: Key, schema: Schema, shown: dict[str, str]) -> Iterator[Key]:
    """The keys below one, as often as kinds have them; `shown`: keys of a mapping -> the first key with them."""
    for inside, value in _alternatives(key, schema):
        for name, member in value.get("properties", {}).items():
            read = resolved(member, schema)
            path = (*key.path, name)
            below = replace(inside, path=path, schema=read, required=name in value.get("required", ()), like="")
            own = json.dumps({one: read.get(one) for one in ("properties", "additionalProperties", "items", "allOf")})
            if _has_keys(read, schema):
                below = replace(below, like=shown.setdefault(own, below.name))
            below = replace(below, like="" if below.like == below.name else below.like)
            yield below
            if not below.like:
                yield from _keys_below(below, schema, shown)
        entry, items = value.get("additionalProperties"), value.get("items")
        if isinstance(entry, Mapping):
            below = replace(inside, path=(*key.path, ENTRY), schema=resolved(entry, schema))
            yield from _keys_below(below, schema, shown)
        if isinstance(items, Mapping):
            below = replace(inside, path=(*key.path, MEMBER), schema=resolved(items, schema))
            yield from _keys_below(below, schema, shown)


def _has_keys(value: Schema, schema: Schema) -> bool:
    """Whether a value has keys that are described."""
    if value.get("properties"):
        return True
    inner = (value.get("additionalProperties"), value.get("items"))
    return any(isinstance(one, Mapping) and _has_keys(resolved(one, schema), schema) for one in inner)


def _alternatives(key: Key, schema: Schema) -> Iterator[tuple[Key, Schema]]:
    """The schema of a value, and those that its kind adds: (the key, of these kinds alone; schema)."""
    yield key, key.schema
    rules = []
    for rule in key.schema.get("allOf", ()):
        ((name, condition),) = rule["if"]["properties"].items()
        then = resolved(rule["then"], schema)
        own = {other: value for other, value in then.get("properties", {}).items() if other != name}
        required = (*key.schema.get("required", ()), *then.get("required", ()))
        rules.append((_kinds(resolved(condition, schema)), {**then, "properties": own, "required": required}))
    all_kinds = tuple(kind for kinds, _ in rules for kind in kinds)
    for kinds, then in rules:
        yield replace(key, kinds=kinds, all_kinds=all_kinds, kinds_of=key.name), then


def _kinds(condition: Schema) -> tuple[str, ...]:
    """The kinds of entry that a condition is about; a family of networks goes by its first name."""
    if "not" in condition:
        return ("others",)
    if "pattern" in condition:
        return ("module:function",)
    if "const" in condition:
        return (condition["const"],)
    values = sorted(condition["enum"], key=lambda name: (len(name), name))
    return tuple(condition["enum"]) if len(values) < 6 else (f"{values[0]} ...",)


def _kinds_in_words(key: Key) -> str:
    """Which kinds of entry have a key: `all but a, b`, or their names."""
    others = [kind for kind in key.all_kinds if kind not in key.kinds]
    if key.kinds == ("others",):
        return "all others"
    if len(others) < len(key.kinds):
        return "all but " + ", ".join(f"`{kind}`" for kind in others)
    return ", ".join(f"`{kind}`" for kind in key.kinds)


def values_allowed(value: Schema) -> str:
    """What a value may be: `one of a, b`, `whole number from 1`, `list of names`.

    Example:
        >>> values_allowed({"type": "integer", "minimum": 1})
        'whole number, 1 or more'
        >>> values_allowed({"type": "number", "exclusiveMinimum": 0, "maximum": 1})
        'number above 0, at most 1'
        >>> values_allowed({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2})
        'list of 2, each: number'
    """
    if "title" in value:
        return str(value["title"])
    if "anyOf" in value:
        return " or ".join(values_allowed(one) for one in value["anyOf"])
    if "enum" in value:
        shown = value["enum"] if len(value["enum"]) < 14 else [*value["enum"][:4], "..."]
        return " ".join(["one of", ", ".join(f"`{one}`" if one != "..." else one for one in shown)])
    kinds = value.get("type", "object" if "properties" in value else "string")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    return " or ".join(_kind_in_words(kind, value) for kind in kinds)


def _kind_in_words(kind: str, value: Schema) -> str:
    if kind in ("integer", "number"):
        word = "whole number" if kind == "integer" else "number"
        word = f"odd {word}" if value.get("not") == {"multipleOf": 2} else word
        return f"{word}{_bounds(value)}"
    if kind == "array":
        items = value.get("items", {})
        count = value.get("minItems")
        of = f"list of {count}" if count is not None and count == value.get("maxItems") else "list"
        return f"{of}, each: {values_allowed(items)}" if items else of
    words = {"boolean": "`true` or `false`", "null": "`null`", "string": "text", "object": "mapping"}
    return words[kind]


def _bounds(value: Schema) -> str:
    """The bounds of a number, as it goes on: `, 1 or more`, ` from 2 to 70`, ` above 0, at most 1`."""
    least, above = value.get("minimum"), value.get("exclusiveMinimum")
    most, below = value.get("maximum"), value.get("exclusiveMaximum")
    most = None if most is not None and most >= LARGEST else most
    if least is not None and most is not None:
        return f" from {least} to {most}"
    from_below = f", {least} or more" if least is not None else f" above {above}" if above is not None else ""
    from_above = f", at most {most}" if most is not None else f", below {below}" if below is not None else ""
    return from_below + from_above


def _sentence(key: Key) -> str:
    words = str(key.schema.get("description") or WORDS.get(key.name, ""))
    return _in_markdown(words.replace("the section of the same name", f"`{key.path[-1]}`"))


def _facts(key: Key, configs: Sequence[Schema], under: Schema) -> list[str]:
    """The value and default of a key of the top level, and an example where it has no keys of its own; a line each."""
    facts = [values_allowed(key.schema), _default(key) or "may be left out"]
    facts += [] if key.schema.get("type") == "object" else [_given(key, configs, under)]
    return [f"- {fact}" for fact in facts]


def _default(key: Key) -> str:
    if "default" in key.schema:
        return f"default: `{_shown(key.schema['default'])}`"
    return "has to be there" if key.required else ""


def _given(key: Key, configs: Sequence[Schema], under: Schema) -> str:
    """The value that lies under every study, where the key is of no entry or member and has one; else an example."""
    if not {ENTRY, MEMBER} & set(key.path):
        for value in _values(under, key, 0):
            return f"in `config.yaml`: `{_shown(value)}`"
    return f"example: `{example(key, [under, *configs])}`"


def _row(key: Key, top: str, configs: Sequence[Schema], under: Schema) -> str:
    """A row of a section's table: the key and what entries have it; what it is; its value, default and example."""
    name, like = (one.removeprefix(f"{top}.") for one in (key.name, key.like))
    entries = "" if set(key.kinds) == set(key.all_kinds) else f"<br>for {_kinds_in_words(key)}"
    facts = [f"as `{like}`" if like else values_allowed(key.schema)]
    facts += [_default(key)] if _default(key) else []
    facts += [_given(key, configs, under)]
    return f"| `{name}`{entries} | {_sentence(key)} | {'<br>'.join(facts)} |"


def example(key: Key, configs: Sequence[Schema]) -> str:
    """The first value of the key in the configs, among entries of its kinds; else of EXAMPLES; else its default.

    Raises:
        KeyError: there is none; EXAMPLES wants one.
    """
    for config in configs:
        for value in _values(config, key, 0):
            return _shown(value)
    if key.name in EXAMPLES:
        return _shown(EXAMPLES[key.name])
    default = key.schema.get("default")
    if isinstance(default, bool):
        return _shown(not default)
    if default in (None, {}, []):
        raise KeyError(key.name)
    return _shown(default)


def _values(config: Any, key: Key, depth: int) -> Iterator[Any]:
    """Every value of the key in what a config holds at the first `depth` steps of its path."""
    if ".".join(key.path[:depth]) == key.kinds_of and not _is_of(config, key):
        return
    if depth == len(key.path):
        yield config
        return
    step = key.path[depth]
    members: Iterable[Any] = ()
    if step == MEMBER:
        members = config if isinstance(config, list) else ()
    elif isinstance(config, Mapping):
        members = config.values() if step == ENTRY else [config[step]] if step in config else ()
    for member in members:
        yield from _values(member, key, depth + 1)


def _is_of(entry: Mapping[str, Any], key: Key) -> bool:
    """Whether an entry is of one of the kinds that have the key."""
    found = str(entry.get(KINDS[key.kinds_of])) if key.kinds_of else ""
    return not key.kinds or any(
        found == kind
        or (kind == "module:function" and ":" in found)
        or (kind.endswith(" ...") and found.startswith(kind[:3]))
        for kind in key.kinds
    )


def _shown(value: Any, longest: int = 60) -> str:
    """A value as it is written in one line of YAML, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = re.sub(r'"([\w./-]+)"', lambda word: word[1] if is_text(word[1]) else word[0], text)  # words need no quotes
    return (text if len(text) <= longest else f"{text[:longest]}...").replace("|", "\\|")


def _in_markdown(words: str) -> str:
    """A description with its pages as links and its signs as they are."""
    words = words.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
    return re.sub(r"docs/(\w+\.md)", r"[\1](\1)", words)
