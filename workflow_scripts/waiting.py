"""Files that a job waits for and is not made from: that they are new, or gone, is no reason to run it again."""

from typing import Any


def pass_over_inputs(prefix: str) -> bool:
    """Have Snakemake compare sets of inputs without those that begin with `prefix`; False where that cannot be had.

    Then such files must be no inputs: whatever had waited for one would be made again.
    """
    try:
        from snakemake.persistence import PersistenceBase

        input_changed = PersistenceBase._input_changed
        PersistenceBase._input, PersistenceBase.input  # noqa: B018
    except (ImportError, AttributeError):
        return False

    def input_changed_now(persistence: Any, job: Any, file: Any = None) -> bool:
        if not input_changed(persistence, job, file):
            return False
        sets = (persistence.input(file), persistence._input(job))
        made_from, now = ({path for path in one if not path.startswith(prefix)} for one in sets)
        return made_from != now

    PersistenceBase._input_changed = input_changed_now
    return True
