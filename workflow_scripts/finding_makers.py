"""Which rule makes a file: Snakemake's answer, found sooner.

Snakemake asks this for every file of every job. Of each rule that may make the file it tries the patterns of all that
the rule makes, and it forgets the answer: 70 patterns a file in a study of 3,407 jobs, more than a quarter of a profile
of its plan (benchmarks/RESULTS.md has what is gained; by the clock it is less). Here only patterns with the file's own
ending are tried, and the answer is kept. So are the arguments of functions in rules, which Snakemake reads off a
function at every call.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

# The modules of Snakemake that ask for the arguments of a function.
ASKING = ("snakemake.common", "snakemake.rules")


class Patterns:
    """The patterns of all files that rules make, by what follows their last wildcard."""

    def __init__(self, rules: Iterable[Any]) -> None:
        self._of_ending: dict[str, list[tuple[str, Any, Any]]] = {}  # ending -> (beginning, pattern, rule)
        for rule in rules:
            for product in rule.products():
                entry = (str(product.constant_prefix()), product, rule)
                self._of_ending.setdefault(str(product.constant_suffix()), []).append(entry)
        self._lengths = sorted({len(ending) for ending in self._of_ending})
        self._found: dict[str, frozenset[Any]] = {}

    def rules_that_make(self, file: str) -> set[Any]:
        """The rules with a pattern that the file matches."""
        found = self._found.get(file)
        if found is None:
            found = self._found[file] = frozenset(self._matching(file))
        return set(found)

    def _matching(self, file: str) -> Iterable[Any]:
        for length in self._lengths:
            if length > len(file):
                return
            for beginning, pattern, rule in self._of_ending.get(file[len(file) - length :], ()):
                if file.startswith(beginning) and pattern.match(file):
                    yield rule


def kept_arguments(arguments: Callable[[Any], Mapping[str, Any]]) -> Callable[[Any], Mapping[str, Any]]:
    """The same function of a function, which looks at each plain one once."""
    kept: WeakKeyDictionary[FunctionType, Mapping[str, Any]] = WeakKeyDictionary()

    def arguments_of(function: Any) -> Mapping[str, Any]:
        if not isinstance(function, FunctionType) or vars(function):  # Snakemake may note other arguments in the latter
            return arguments(function)
        if function not in kept:
            kept[function] = arguments(function)
        return kept[function]

    return arguments_of


def find_makers_sooner() -> bool:
    """Have Snakemake answer so from now on; False where it is built in another way, and then it answers as ever."""
    try:
        from snakemake.output_index import OutputIndex

        begin: Any = OutputIndex.__init__
        ask_every_rule: Callable[[Any, str], set[Any]] = OutputIndex.match_producers
        asking: list[Any] = [import_module(name) for name in ASKING]
        arguments = [module.get_function_params for module in asking]
    except (ImportError, AttributeError):
        return False
    if hasattr(OutputIndex, "patterns"):
        return True

    def begin_with_patterns(index: Any, rules: Any) -> None:
        rules = list(rules)
        begin(index, rules)
        index.patterns = Patterns(rules)

    def match_producers(index: Any, file: str) -> set[Any]:
        try:
            patterns: Patterns = index.patterns
            return patterns.rules_that_make(str(file))
        except (re.error, ValueError):
            return ask_every_rule(index, file)  # which says where the pattern stands that is wrong

    for module, one in zip(asking, arguments, strict=True):
        module.get_function_params = kept_arguments(one)
    OutputIndex.patterns = None
    OutputIndex.__init__, OutputIndex.match_producers = begin_with_patterns, match_producers
    return True
