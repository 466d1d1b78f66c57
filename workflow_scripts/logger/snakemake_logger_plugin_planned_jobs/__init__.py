"""A logger for Snakemake that writes each job of a dry run as one line of JSON; for `workflow_scripts.why` alone.

Snakemake finds it by its name once this folder is on PYTHONPATH. It is here because Snakemake's own text leaves out
the rule and the files of a job that has a message.
"""

import json
from dataclasses import dataclass, field
from logging import LogRecord
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """The option of this logger."""

    file: str = field(default="", metadata={"help": "file that the lines go to", "required": True})


class LogHandler(LogHandlerBase):
    """Appends a line per job."""

    writes_to_stream = False
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def emit(self, record: LogRecord) -> None:
        """Write the job, if it is one."""
        if getattr(record, "event", None) != LogEvent.JOB_INFO:
            return
        fields = {"rule": "rule_name", "output": "output", "input": "input", "reason": "reason", "command": "shellcmd"}
        job = {name: getattr(record, of_record) for name, of_record in fields.items()}
        assert isinstance(self.settings, LogHandlerSettings)
        with Path(self.settings.file).open("a", encoding="utf-8") as file:
            file.write(json.dumps(job, default=str) + "\n")
