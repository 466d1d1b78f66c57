"""Snakemake's command line in a process that has imported it, for the many tests that only ask for a plan.

Reads a line of JSON for every command, (working directory, arguments, file for the output), runs it in a fork of this
process and answers with its exit status. Importing Snakemake, and what it and the workflow import when they need it,
is half of what a plan takes.
"""

import json
import os
import sys

import h5py  # noqa: F401
import jsonschema  # noqa: F401
import pandas as pd  # noqa: F401
import PIL.Image  # noqa: F401
import pygments.formatters
import pygments.lexers  # noqa: F401
import snakemake.profiles
import snakemake.report.html_reporter
import snakemake.storage  # noqa: F401
from snakemake.cli import main

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
