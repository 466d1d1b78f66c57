"""Write how long jobs take by the plan of a study, as JSON, for the time left of a run; config on standard input."""

import json
import os
import sys
from pathlib import Path

from workflow_scripts.jobs.entry import run


def main() -> None:
    """Write what `mcoherence.audit.plan.job_seconds` returns, with what the jobs leave of the processor."""
    os.nice(19)
    from mcoherence.audit.plan import job_seconds
    from mcoherence.device import chosen_device

    config = json.load(sys.stdin)
    json.dump(job_seconds(config, chosen_device(config["device"]), Path(__file__).parents[1]), sys.stdout)


if __name__ == "__main__":
    run(main)
