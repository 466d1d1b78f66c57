"""What is said where several processes are to share a run whose optimiser needs the gradients of all examples in one.

A config is refused with it when Snakemake parses the workflow, so this module imports nothing heavy.
"""

from typing import NoReturn

from mcoherence.errors import UserError

OPERATIONAL = True  # no number depends on it; docs/reruns.md


def refuse_ranks(ranks: int, optimizer: str) -> NoReturn:
    """Refuse `ranks` processes for an optimiser, which is named as its reader knows it.

    Raises:
        UserError: always.
    """
    raise UserError(
        f"operational.ranks: found {ranks}, expected 1 for {optimizer}, which needs the gradients of all examples in "
        "one place; set it to 1, or take another optimiser"
    )
