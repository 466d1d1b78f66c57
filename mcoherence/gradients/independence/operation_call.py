"""A call of one of torch's operations, and the rules that say what it makes of the examples in its arguments.

Each rule gives the kinds of what its operation gives, None of what nobody is to use. What has no rule is not known.
Operations are those below autograd (`torch.ops.aten`): whatever torch function, script or C++ code was called, it comes
down to these.

Index letter: n examples of a batch.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mcoherence.gradients.independence.axes import Constant, Examples, Found, Kind, NotKnownError


@dataclass(frozen=True)
class OperationCall:
    """A call of an operation.

    arguments: by the names of its schema, defaults included.
    results: the tensors that it gave.
    kind: of a tensor among the arguments, one that counts taken for any constant.
    counts: along which axis a tensor among the arguments counts; None of one that does not.
    n: number of examples.
    """

    arguments: dict[str, Any]
    results: Sequence[Tensor]
    kind: Callable[[Tensor], Kind]
    counts: Callable[[Tensor], int | None]
    n: int

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def tensor(self, name: str) -> Tensor:
        """The argument of this name, which is a tensor."""
        found = self.arguments[name]
        if not isinstance(found, Tensor):
            raise NotKnownError
        return found

    def of(self, name: str) -> Kind:
        """The kind of the argument of this name, which is a tensor."""
        return self.kind(self.tensor(name))

    def axis(self, name: str, dim: int) -> int:
        """An axis of the argument of this name, counted from the left."""
        return dim % max(1, self.tensor(name).dim())

    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments, those of lists too."""
        return list(tensors_among(self.arguments.values()))


Rule = Callable[[OperationCall], Sequence[Found | None]]
RULES: dict[str, Rule] = {}


def require(known: bool) -> None:
    """Raise NotKnownError unless this is so."""
    if not known:
        raise NotKnownError


def tensors_among(values: Iterable[Any]) -> Iterable[Tensor]:
    """The tensors among values and lists of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_among(value)


def rule(*names: str) -> Callable[[Rule], Rule]:
    """A decorator: the rule of the operations of these names."""

    def registered(found: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, found))
        return found

    return registered


def require_constant(call: OperationCall, *names: str) -> None:
    """Raise NotKnownError unless these arguments hold nothing of the examples; None is nothing."""
    for tensor in tensors_among(call[name] for name in names):
        require(isinstance(call.kind(tensor), Constant))


def of_examples(call: OperationCall, name: str) -> Examples:
    """The kind of an argument that holds something of the examples; NotKnownError of another."""
    found = call.of(name)
    if not isinstance(found, Examples):
        raise NotKnownError
    return found


def same_for_all(call: OperationCall, kind: Kind) -> list[Found | None]:
    """One kind for every result."""
    return [kind] * len(call.results)
