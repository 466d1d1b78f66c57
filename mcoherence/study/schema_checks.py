"""The check of a config against its JSON schema, and the words in which it is refused."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from typing import Any

from mcoherence.errors import UserError, meant
from mcoherence.study.config_files import SECTIONS_OF_ENTRIES
from mcoherence.study.runs import Config
from mcoherence.study.yaml_values import POINT, point_for_comma

IN_QUOTES = "text, in quotes where it looks like a number"
TYPES = {
    "number": "a number",
    "integer": "a whole number, without a point",
    "string": IN_QUOTES,
    "boolean": "true or false",
    "array": "a list",
    "object": "keys with values",
}

LONGEST_FOUND = 200  # characters of what was found that a message repeats


def check_config(config: Config, schema: Config) -> None:
    """Check a config against its JSON schema.

    Raises:
        UserError: one line about the error that explains most: key, what was found, what was expected.
    """
    from jsonschema import Draft202012Validator, validators
    from jsonschema.exceptions import best_match

    # JSON's 3.0 is an integer, but here it would name files and count steps.
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    validator = validators.extend(Draft202012Validator, type_checker=types)(schema)
    error = best_match(validator.iter_errors(_not_finite_marked(config)))
    if error is None:
        _check_finite(config, ())
        return
    key = ".".join(str(part) for part in error.absolute_path) or "the config"
    found = _found(error)
    found = found if len(found) <= LONGEST_FOUND else f"{found[:LONGEST_FOUND]} ..."
    of_entry = error.validator == "required" and len(error.absolute_path) == 2
    if of_entry and error.absolute_path[0] in SECTIONS_OF_ENTRIES:
        found += " of an entry, which takes the place of the default's whole"
    raise UserError(
        f"config: {key}: found {found}; expected {_expected(error)}; every key is described in "
        "schemas/config.schema.json"
    )


@dataclass(frozen=True)
class _NotFinite:
    """NaN or infinity, which is no number to a schema: its bounds say nothing of NaN."""

    value: float

    def __repr__(self) -> str:
        return repr(self.value)


def _not_finite_marked(value: Any) -> Any:
    """A value of the config with its NaNs and infinities marked."""
    if isinstance(value, float) and not isfinite(value):
        return _NotFinite(value)
    if isinstance(value, Mapping):
        return {name: _not_finite_marked(one) for name, one in value.items()}
    return [_not_finite_marked(one) for one in value] if isinstance(value, list) else value


def _found(error: Any) -> str:
    """What is there that does not fit: a value, a key that is not known, or the lack of one."""
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [str(name) for name in error.instance if name not in known]
        return f"the unknown key {unknown[0]!r}{meant(unknown[0], known)}"
    if error.validator == "required":
        return f"no key {', '.join(name for name in error.validator_value if name not in error.instance)}"
    return "nothing" if error.instance is None else repr(error.instance)


def _check_finite(value: Any, key: tuple[str, ...]) -> None:
    """Refuse NaN and infinity, which JSON, the hand that settings pass through, has no word for."""
    if isinstance(value, float) and not isfinite(value):
        raise UserError(f"config: {'.'.join(key)}: found {value}; expected a finite number")
    if isinstance(value, Mapping):
        for name, one in value.items():
            _check_finite(one, (*key, str(name)))
    elif isinstance(value, list):
        for place, one in enumerate(value):
            _check_finite(one, (*key, str(place)))


def _expected(error: Any) -> str:
    """What a key of the schema that a value does not fit asks for, in a person's words."""
    wanted = error.validator_value
    words: dict[str, Callable[[], str]] = {
        "additionalProperties": lambda: f"only the keys {', '.join(error.schema.get('properties', {}))}",
        "enum": lambda: _choices(error.instance, wanted),
        "const": lambda: str(wanted),
        "required": lambda: f"all of {', '.join(error.schema.get('required', []))}",
        "type": lambda: _type_in_words(error),
        "minimum": lambda: f"at least {wanted}",
        "exclusiveMinimum": lambda: f"more than {wanted}",
        "maximum": lambda: f"at most {wanted}",
        "exclusiveMaximum": lambda: f"less than {wanted}",
        "minItems": lambda: f"at least {_counted(wanted, 'value')}",
        "maxItems": lambda: f"at most {_counted(wanted, 'value')}",
        "uniqueItems": lambda: "every value once",
        "minLength": lambda: f"text of at least {_counted(wanted, 'character')}",
        "maxLength": lambda: f"text of at most {_counted(wanted, 'character')}",
        "minProperties": lambda: f"at least {_counted(wanted, 'key')}",
        "pattern": lambda: str(error.schema.get("title", f"text like {wanted}")),
        "not": lambda: "an odd number" if wanted == {"multipleOf": 2} else f"nothing like {wanted}",
        "anyOf": lambda: str(error.schema.get("title", "one of the forms that its description names")),
    }
    return words.get(error.validator, lambda: str(error.message))()


def _is_number_in_quotes(value: object) -> bool:
    try:
        return isinstance(value, str) and isfinite(float(value))
    except ValueError:
        return False


def _is_right_in_quotes(value: object, schema: Config) -> bool:
    """Whether a number would be taken as text, as far as these few keys of a schema say all that is asked of it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = schema.keys() <= {"type", "description", "title", "pattern", "minLength", "default"}
    return is_number and whole and re.search(schema.get("pattern", ""), str(value)) is not None


def _type_in_words(error: Any) -> str:
    """The kinds of values that fit, with a right one where the schema has one."""
    wanted = error.validator_value
    kinds = [wanted] if isinstance(wanted, str) else wanted
    quoted = {"number", "integer"} & set(kinds) and _is_number_in_quotes(error.instance)
    if {"number", "integer"} & set(kinds) and re.fullmatch(r"[-+]?\d+,\d+([eE][-+]?\d+)?", str(error.instance)):
        return f"{POINT}; {point_for_comma(error.instance)}"
    words = " or ".join("a whole number" if one == "integer" and quoted else TYPES.get(one, one) for one in kinds)
    if isinstance(error.instance, _NotFinite):
        words = words.replace(TYPES["number"], "a finite number")
    if error.instance is None:
        words = words.replace(IN_QUOTES, f"{IN_QUOTES} or has a #, which begins a comment")
    if "string" in kinds and _is_right_in_quotes(error.instance, error.schema):
        return f'{words}; write "{error.instance}"'
    return words + (", without quotes" if quoted else "") + _example(error.schema)


def _example(schema: Config) -> str:
    """A right value in words, the default of a key or its example; empty where there is none to learn from."""
    right = schema.get("default") or next(iter(schema.get("examples", ())), None)
    return "" if isinstance(right, bool) or not right else f", such as {json.dumps(right)}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _choices(found: object, choices: list[Any]) -> str:
    """The values that a key can have; where they are many, those that are spelled like the one found."""
    names = [str(choice) for choice in choices]
    near = get_close_matches(str(found).lower(), names, n=5, cutoff=0.5) if len(names) > 20 else []
    if near:
        return f"one of {len(names)} names, such as {', '.join(near)}"
    # Of a few names the nearest by spelling is often not the one meant: gpu is no cpu.
    return f"one of {', '.join(names)}{meant(str(found), names) if len(names) > 4 else ''}"
