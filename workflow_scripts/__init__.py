"""One thin command-line module per rule, of the rule's name: parse, call the library, write the outputs.

Run as `python -m workflow_scripts.NAME`, they import without the garbage collector, which would look through torch's
many lasting objects again and again: a sixth of the time that torch takes to import, in every job.
`jobs.entry.run` turns it on again. Where they are jobs of a study, they compare what they import with the code that it
started with (`jobs.started`). Neither holds for `jobs.launch`, which computes nothing and becomes a command.
"""

import gc
import sys

OPERATIONAL = True  # no number depends on it; docs/reruns.md

if sys.orig_argv[1:3] != ["-m", "workflow_scripts.jobs.launch"]:
    if sys.argv[0] == "-m":  # so named until the module is found: not where another program imports this package
        gc.disable()
    from workflow_scripts.jobs import started

    started.install()
