"""Snakemake's command line in a process that has imported it, for the many tests that only ask for a plan.

Reads a line of JSON for every command, (working directory, arguments, file for the output), runs it in a fork of this
process and answers with its exit status. Importing Snakemake, and what it and the workflow import when they need it,
is half of what a plan takes.
"""

import json
import os
import sys
from importlib import import_module

from snakemake.cli import main

LATER = (
    "snakemake.profiles", "snakemake.report.html_reporter", "snakemake.storage", "h5py", "jsonschema", "pandas",
    "PIL.Image", "pygments.formatters", "pygments.lexers",
)  # fmt: skip
for module in LATER:
    import_module(module)

for line in sys.stdin:
    folder, arguments, said = json.loads(line)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    os.chdir(folder)
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.flush()
        os.dup2(output, number)
    sys.argv = ["snakemake", *arguments]
    main()  # which leaves
