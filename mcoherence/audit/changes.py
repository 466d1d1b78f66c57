"""What differs between two settings objects, key by key."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "nothing"


@dataclass(frozen=True)
class Change:
    """One key, such as "optimizer.lr" or "grids.0.seeds", with both its values; either can be absent (`ABSENT`)."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {_as_text(self.old)} -> {_as_text(self.new)}"


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """The keys whose values differ, innermost ones, in alphabetical order; 1 and 1.0 are the same value."""
    return list(_changes("", old, new))


def _changes(key: str, old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted(old.keys() | new.keys()):
            inner = f"{key}.{name}" if key else str(name)
            yield from _changes(inner, old.get(name, ABSENT), new.get(name, ABSENT))
    elif _are_sections(old) and _are_sections(new) and len(old) == len(new):
        yield from _changes(key, dict(enumerate(old)), dict(enumerate(new)))
    elif old != new:
        yield Change(key, old, new)


def _are_sections(value: Any) -> bool:
    """Whether a value is a list of settings objects; their places in it are keys."""
    return isinstance(value, list) and all(isinstance(one, Mapping) for one in value)


def _as_text(value: Any) -> str:
    text = ABSENT if value == ABSENT else repr(value)
    return text if len(text) <= 60 else f"{text[:40]} ... {text[-15:]}"
