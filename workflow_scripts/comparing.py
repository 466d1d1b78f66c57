"""At every start Snakemake hears what the files say of themselves, and not only what its records say of them.

Snakemake compares the params of each job with its record of the last one. A record can be lost (results copied without
`.snakemake`), written over files that are stale (`--touch`) or lacking for one output (of a rule that gained it), and
then params are not compared at all. But every file says which settings, code and inputs made it. So before Snakemake
compares a job, the records of its outputs are corrected by the files' own words, in memory: on disk nothing changes.
The rest is Snakemake's: what it runs, within what was asked for, and how it says why.

Only the main process asks. Jobs that parse the workflow run what they were told to.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mcoherence.audit.comparison import Job, Told, in_words, misfit, told_by
from mcoherence.audit.origins import Origins
from mcoherence.audit.why import settings_or_code
from mcoherence.errors import UserError

KEPT = "code/origins.json"  # below the folder of the study
NOT_MADE = (
    "This Snakemake keeps its records in another way than 9.27 does, so that files are not compared with the settings "
    "and code of today by what they say of themselves, but only by its records."
)


class Comparison:
    """What files say, and the records that follow from it."""

    def __init__(self, results: Path, changed: Callable[[str], str]) -> None:
        """Of the study in the folder `results`.

        `changed` says of a file why it is to be made again, or "": what it was made from is not among its inputs.
        """
        self._results = results
        self._changed = changed
        self._origins: Origins | None = None
        self._records: dict[str, Any] = {}  # path -> record in place of Snakemake's
        self._misfits: dict[str, tuple[str, str, int]] = {}  # first output of a job -> rule, reason, files

    def install(self) -> str:
        """Correct the records that Snakemake looks up from now on; returns a line where this cannot be, else ""."""
        try:
            from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord, PersistenceBase
            from snakemake.persistence.file import FilePersistence

            has_metadata, metadata = PersistenceBase.has_metadata, PersistenceBase.metadata
            read_record = FilePersistence._read_record
            make: Callable[..., Any] = MetadataRecord
            PersistenceBase._get_key, PersistenceBase._params  # noqa: B018
        except (ImportError, AttributeError):
            return NOT_MADE

        def has_metadata_now(persistence: Any, job: Any) -> bool:
            try:
                self._hear(job, persistence, lambda path: metadata(persistence, path), make, RECORD_FORMAT_VERSION)
            except UserError as error:  # a file that cannot be read now; what is in it may well be right
                sys.exit(f"error: {error}")
            return bool(has_metadata(persistence, job))

        def metadata_now(persistence: Any, target: Any) -> Any:
            return self._records.get(persistence._get_key(target)) or metadata(persistence, target)

        def read_or_none(persistence: Any, key: str) -> Any:
            try:
                return read_record(persistence, key)
            except ValueError:  # Snakemake passes over one that is no JSON, but not one that is no UTF-8 or no record
                return None

        PersistenceBase.has_metadata, PersistenceBase.metadata = has_metadata_now, metadata_now
        FilePersistence._read_record = read_or_none
        return ""

    def _hear(
        self, job: Any, persistence: Any, record_of: Callable[[Any], Any], make: Callable[..., Any], version: int
    ) -> None:
        """Take down what the outputs of a job say, where that is not what Snakemake's records say."""
        asked = {name: job.params.get(name) for name in ("settings", "code")}
        if None in asked.values() or not Path(str(job.output[0])).is_relative_to(self._results):
            return  # the latter is of another study, in a workflow that has both as modules
        if self._origins is None:
            self._origins = Origins(self._results / KEPT)
        planned = Job(job.rule.name, [str(path) for path in job.output], [str(path) for path in job.input], **asked)
        told = {
            path: replace(one, complaints=(*one.complaints, why)) if (why := self._changed(path)) else one
            for path, one in told_by(planned, self._origins, self._results).items()
        }
        reasons = {path: misfit(planned, one) for path, one in told.items()}
        wrong = [reason for reason in reasons.values() if reason]
        if wrong:
            self._misfits[planned.outputs[0]] = (planned.rule, wrong[0], len(wrong))
        of_siblings = next((told[path] for path in told if reasons[path]), next(iter(told.values()), None))
        expected: list[str] = persistence._params(job)
        for target, path in zip(job.output, planned.outputs, strict=True):
            self._records.pop(persistence._get_key(target), None)
            known = record_of(target)
            # An output that cannot say it was made with its siblings, whatever a record says of it.
            one = told.get(path, of_siblings)
            if one is None:
                continue
            if not wrong and known is not None and known.params == expected:
                continue
            params = corrected(expected if known is None or known.params is None else known.params, one)
            if known is None or known.params is None or set(known.params) != set(params):
                known = known if known and known.record_format_version >= version else None
                fields = {} if known is None else dict(known.items())
                fields |= {"rule": planned.rule, "params": params, "record_format_version": version}
                self._records[persistence._get_key(target)] = make(**fields)

    def words(self, heeded: bool = True) -> str:
        """What does not fit, in a paragraph for people; "" where all fits."""
        return in_words(self._misfits.values(), heeded)

    def keep(self) -> None:
        """Write down what was read, for the next start."""
        if self._origins is not None:
            self._origins.keep()


def corrected(params: list[str], told: Told) -> list[str]:
    """A record's params with the settings and the code that a file says, and what is wrong with its inputs."""
    others = [param for param in params if not settings_or_code(param)]
    return sorted([*others, repr(told.settings), repr(told.code), *map(repr, told.complaints)])
