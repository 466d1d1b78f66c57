"""What the words of a config file stand for: YAML without its surprises.

Snakemake's own loader takes the later of two equal keys without a word, 010 for 8 and 1:30 for 90. Here such a file
is refused in one line. Beside that, yes, no, on and off are text and no truth values, dates are text, and 1e-3 is a
number.
"""

import json
import re
from typing import Any

import yaml

from mcoherence.errors import UserError

LARGEST_VALUES, DEEPEST = 100_000, 30

PLAIN, MERGE, TEXT = "plain", "<<", "tag:yaml.org,2002:str"
MAP, LIST = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}
WHOLE = re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)")
FRACTION = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
LEADING_ZERO = re.compile(r"[-+]?0(_*[0-9][0-9_]*|[ob][0-7_]+)")
BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
# What a comma between digits leaves in braces: the number before it, and what follows as a key without a value.
BEFORE_COMMA, AFTER_COMMA = re.compile(r"[-+]?[0-9]+"), re.compile(r"[0-9]+([eE][-+]?[0-9]+)?")
END_OF_FILE = "'<stream end>'"  # as PyYAML says it
COMMENT_FOR_VALUE = re.compile(r"(?:: +|\[ *)(#[^\s,}\]]+)")  # as in `sgd: #0072B2`


POINT = "a number with a decimal point and no comma"


def point_for_comma(found: str) -> str:
    """How a number with a comma between digits is to be written: 0,3 as 0.3; 1,000 may also be a thousand."""
    before, after = found.split(",")
    thousands = re.fullmatch(r"[-+]?[1-9][0-9]{0,2}", before) and re.fullmatch(r"[0-9]{3}", after)
    return f"write {before}.{after}" + (f", or {before}{after} for thousands" if thousands else "")


def values_of_text(text: str, where: str) -> dict[str, Any]:
    """The keys and values of the text of a config, YAML or JSON.

    Args:
        text: of the file.
        where: how a message names the file.

    Raises:
        UserError: one line with file, line and key about what is there and is no config.
    """
    is_json = _is_json(text)
    if is_json:
        text = text.replace("\t", " ")  # which JSON may be laid out with and YAML may not
    try:
        root = yaml.compose(text, Loader=_PlainLoader)
        return _Values(where, is_json).of_file(root)
    except RecursionError as error:
        raise UserError(f"{where}: found values nested too deeply, expected at most {DEEPEST} levels") from error
    except yaml.MarkedYAMLError as error:
        raise _no_yaml(where, text, error) from error
    except yaml.YAMLError as error:
        raise UserError(f"{where}: is no YAML ({' '.join(str(error).split())}); correct it") from error


def _no_yaml(where: str, text: str, error: yaml.MarkedYAMLError) -> UserError:
    """What PyYAML could not read, with the line to look at: of what is not closed, where it was opened."""
    mark, problem = error.problem_mark or error.context_mark, " ".join(str(error.problem or error.context).split())
    opened, scalars = _open_at(text, mark.index if mark else 0)
    for found in COMMENT_FOR_VALUE.finditer(text, opened.index, mark.index) if opened and mark else ():
        if not any(start <= found.start(1) < end for start, end in scalars):
            line = text.count("\n", 0, found.start(1)) + 1
            return UserError(
                f"{where}, line {line}: found {found[1]} without quotes, expected "
                f'them around text with a #, which else begins a comment that hides the rest; write "{found[1]}"'
            )
    if opened and END_OF_FILE in problem:
        mark, problem = opened, f"found {text[opened.index]} without its end"
    elif mark is not None and error.context_mark is not None and mark.index >= len(text.rstrip()):
        mark = error.context_mark  # of what is not ended either; there may be no line where the file ends
    place = "" if mark is None else f", line {mark.line + 1}"
    return UserError(f"{where}{place}: is no YAML ({problem}); correct it")


def _open_at(text: str, end: int) -> tuple[yaml.Mark | None, list[tuple[int, int]]]:
    """Where the last bracket was opened that is not closed before `end`, and from where to where words before it go."""
    opened: list[yaml.Mark] = []
    scalars = []
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if token.start_mark.index >= end:
                break
            if isinstance(token, yaml.FlowMappingStartToken | yaml.FlowSequenceStartToken):
                opened.append(token.start_mark)
            elif isinstance(token, yaml.FlowMappingEndToken | yaml.FlowSequenceEndToken):
                del opened[-1:]
            elif isinstance(token, yaml.ScalarToken):
                scalars.append((token.start_mark.index, token.end_mark.index))
    except yaml.YAMLError:  # the same error, or one that comes later
        pass
    return (opened[-1] if opened else None), scalars


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def is_text(word: str) -> bool:
    """Whether a word without quotes stands for itself in a config file, and for no number, true, false or null."""
    numbers = (WHOLE, FRACTION, NOT_FINITE, LEADING_ZERO, BASE_60)
    return word.lower() not in CONSTANTS and not any(one.fullmatch(word) for one in numbers)


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """PyYAML's loader, which leaves it to `_Values` what a word without quotes stands for."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {  # noqa: RUF012  # PyYAML's name
        None: [(PLAIN, re.compile(""))]
    }


class _Values:
    """The values that the nodes of one file stand for.

    where: how a message names the file; is_json: whether NaN and Infinity, as JSON's writers spell them, are numbers.
    """

    def __init__(self, where: str, is_json: bool) -> None:
        self.where = where
        self.is_json = is_json
        self.count = 0

    def of_file(self, root: yaml.Node | None) -> dict[str, Any]:
        """All keys and values of the file."""
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{self.where}: found no keys with values, expected some, such as study: NAME")
        value: dict[str, Any] = self._of(root, (), ())
        return value

    def _of(self, node: yaml.Node, key: tuple[str, ...], above: tuple[yaml.Node, ...]) -> Any:
        """The value of a node at a key, inside of the nodes `above`."""
        self.count += 1
        if any(node is other for other in above):
            raise self._error(node, key, "an alias to what it is part of", "values that end")
        if self.count > LARGEST_VALUES:
            raise self._error(node, key, f"more than {LARGEST_VALUES} values, aliases written out", "a config")
        if len(above) > DEEPEST:
            raise self._error(node, key[:1], "values nested too deeply", f"at most {DEEPEST} levels")
        if isinstance(node, yaml.MappingNode) and node.tag == MAP:
            return self._mapping(node, key, (*above, node))
        if isinstance(node, yaml.SequenceNode) and node.tag == LIST:
            return [self._of(one, (*key, str(place)), (*above, node)) for place, one in enumerate(node.value)]
        if node.tag == PLAIN:
            return self._plain(node, key)
        if node.tag == TEXT:
            return node.value
        raise self._error(node, key, f"the tag {node.tag}", "plain values", "remove it")

    def _mapping(self, node: yaml.Node, key: tuple[str, ...], above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        """Keys and values, those that `<<` takes in behind its own."""
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for number, (key_node, value_node) in enumerate(node.value):
            if number and node.flow_style:
                self._refuse_comma(node.value[number - 1], (key_node, value_node), key)
            name = self._key(key_node, value_node, key)
            line = key_node.start_mark.line + 1
            if name in lines:
                twice = f"the key twice, in lines {lines[name]} and {line}"
                raise self._error(key_node, (*key, name), twice, "each key once", "remove one")
            lines[name] = line
            if name == MERGE and key_node.tag == PLAIN:
                several = isinstance(value_node, yaml.SequenceNode)
                for one in value_node.value if several else [value_node]:
                    if not isinstance(one, yaml.MappingNode):
                        raise self._error(one, (*key, name), "something else", "an alias to keys with values")
                    merged = {**self._of(one, (*key, name), above), **merged}
            else:
                own[name] = self._of(value_node, (*key, name), above)
        return {**merged, **own}

    def _refuse_comma(self, one: tuple[yaml.Node, ...], next_one: tuple[yaml.Node, ...], key: tuple[str, ...]) -> None:
        """Refuse 0,3 in braces, which YAML takes for 0 and then a key 3 without a value; each is a key and a value."""
        name, before, after, value = (*one, *next_one)
        words = (before, after)
        if value.start_mark.index < value.end_mark.index or any(node.tag != PLAIN for node in (name, value, *words)):
            return
        if BEFORE_COMMA.fullmatch(before.value) and AFTER_COMMA.fullmatch(after.value):
            found = ",".join(node.value for node in words)
            raise self._error(before, (*key, name.value), found, POINT, point_for_comma(found))

    def _key(self, node: yaml.Node, value: yaml.Node, key: tuple[str, ...]) -> str:
        """The text of a key; `value` is what stands behind it."""
        if not isinstance(node, yaml.ScalarNode) or node.tag not in (PLAIN, TEXT):
            raise self._error(node, key, "a key that is no text", "text")
        name = node.value if node.tag == TEXT or node.value == MERGE else self._plain(node, key)
        if isinstance(name, str):
            return name
        if value.tag == PLAIN and value.value and not isinstance(self._plain(value, (*key, node.value)), str):
            both = f'write "{node.value}": "{value.value}" where both are names, else "{node.value}": {value.value}'
            raise self._error(node, key, f"{node.value} as a key", "text", both)
        raise self._error(node, key, f"{node.value} as a key", "text", f'write "{node.value}"')

    def _plain(self, node: yaml.Node, key: tuple[str, ...]) -> Any:
        """What a word without quotes stands for: a constant, a number or itself."""
        word: str = node.value
        if word.lower() in CONSTANTS and word in (word.lower(), word.capitalize(), word.upper()):
            return CONSTANTS[word.lower()]
        quoted = f'write the number in full, or "{word}" in quotes'
        if LEADING_ZERO.fullmatch(word):
            raise self._error(
                node, key, f"{word}, which YAML takes for octal", "a number without leading zeros", quoted
            )
        if BASE_60.fullmatch(word):
            raise self._error(node, key, f"{word}, which YAML takes for base 60", "a number", quoted)
        try:
            if WHOLE.fullmatch(word):
                return int(word.replace("_", ""), 16 if "x" in word else 10)
            if FRACTION.fullmatch(word):
                return float(word.replace("_", ""))
        except ValueError as error:  # Python reads at most some thousand digits
            raise self._error(node, key, f"a number of {len(word)} digits", "fewer") from error
        if NOT_FINITE.fullmatch(word) or (self.is_json and word in ("NaN", "Infinity", "-Infinity")):
            return float(word.replace(".", ""))
        return word

    def _error(self, node: yaml.Node, key: tuple[str, ...], found: str, expected: str, way_out: str = "") -> UserError:
        place = f"{self.where}, line {node.start_mark.line + 1}: {'.'.join((*key, ''))[:-1] or 'top level'}"
        return UserError(f"{place}: found {found}; expected {expected}{way_out and '; ' + way_out}")
