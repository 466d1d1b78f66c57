"""Snakemake with the time between two looks at SLURM's queue cut to a second, for tests.

The executor waits 10 s longer after every look, up to 3 minutes; no option of it changes that.
"""

import asyncio
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def second(_: RemoteExecutor) -> None:
    """Wait for a second."""
    await asyncio.sleep(1)


RemoteExecutor.sleep = second
sys.exit(main())
