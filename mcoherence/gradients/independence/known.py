"""Which batches a model is known to pass example by example, from a few passes that were looked at.

Index letter: n examples of a batch.
"""

from mcoherence.gradients.independence.trace import Calls


class KnownApart:
    """Numbers of examples that a model passes with the same calls, each of which keeps the examples apart.

    Both by the form of an example: containers, shapes and dtypes.
    """

    def __init__(self) -> None:
        self._calls: dict[str, Calls | None] = {}  # of the first pass of a form; None once any pass was another
        self._sizes: set[tuple[str, int]] = set()

    def is_known(self, form: str, n: int) -> bool:
        """Whether n examples of a form are passed as any other number of them that is known."""
        return (form, n) in self._sizes and self.may_be(form)

    def may_be(self, form: str) -> bool:
        """Whether no pass of the form was found that is not known."""
        return self._calls.get(form, ...) is not None

    def reads(self, form: str) -> bool:
        """Whether values of examples decide what is called, so that each joined pass is to be looked at."""
        calls = self._calls.get(form)
        return calls is not None and calls.reads

    def take(self, form: str, n: int, calls: Calls | None) -> None:
        """Take in what a pass of n examples of a form calls; None of one that is not known to keep them apart."""
        if self._calls.setdefault(form, calls) != calls:
            self._calls[form] = None
        self._sizes.add((form, n))
