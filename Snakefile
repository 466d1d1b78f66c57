# A study of gradient coherence after Chatterjee and Zielinski: config in, checked claims and one report out.
import json
import sys
import time
from pathlib import Path
from shlex import quote

from snakemake.utils import min_version, validate

min_version("9.20")
STARTED = time.monotonic()

BASE = Path(workflow.current_basedir.get_path_or_uri(secret_free=False))  # of this file, also as another's module
# The library beside this file, whatever else is installed, and the Python that runs Snakemake: here, and in the
# commands of the rules, so that no environment need be activated. Only an environment that Snakemake made for its jobs
# (--sdm conda; it leaves a file beside it) comes first.
sys.path.insert(0, str(BASE))
PROGRAMS = quote(str(Path(sys.executable).parent))
shell.prefix(
    f"export PYTHONPATH={quote(str(BASE))};"
    ' if [ -e "${{CONDA_PREFIX:-}}.env_setup_done" ];'
    f' then PATH="$PATH":{PROGRAMS}; else PATH={PROGRAMS}:"$PATH"; fi; '
)

from mcoherence.study import catalogue, checks, config_files, schema_checks
from mcoherence.errors import UserError
from workflow_scripts.finding_makers import find_makers_sooner
from workflow_scripts.jobs import copy_client

find_makers_sooner()

# What a person sees of the run; not in jobs, nor where this is a part of another workflow.
CONSOLE = None
if workflow.is_main_process and not workflow.modifier.skip_configfile:
    from workflow_scripts.console.handler import install as install_console

    CONSOLE = install_console(workflow.output_settings)

# Snakemake's own reading takes the later of two equal keys, and 010 for 8. So the files are read again, before it sees
# config.yaml and in the jobs of a cluster alike. Another workflow that has this one as a module hands its config over.
GIVEN = workflow.config_settings
READING = (BASE / "config.yaml", GIVEN.configfiles, GIVEN.config, GIVEN.replace_workflow_config)
try:
    STUDY = None if workflow.modifier.skip_configfile else config_files.study_config(*READING)
except UserError as error:
    sys.exit(f"error: {error}")  # one line; a WorkflowError would add where in this file it was raised


configfile: workflow.source_path("config.yaml")


try:
    if STUDY:
        config.clear()
        config.update(STUDY.config)
    config.update(catalogue.in_one_spelling(config))
    schema_checks.check_config(config, json.loads((BASE / "schemas/config.schema.json").read_text()))
    config.update(config_files.with_homes(config))
    validate(config, "schemas/config.schema.json")  # fills in the defaults
    config.update(catalogue.with_entries_made(config))
    checks.check_references(config, STUDY and STUDY.own)
except UserError as error:
    sys.exit(f"error: {STUDY.in_its_file(str(error)) if STUDY else error}")


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/networks.smk"
include: "rules/train.smk"
include: "rules/parts.smk"
include: "rules/measure.smk"
include: "rules/difficulty.smk"
include: "rules/join_parts.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/claims.smk"
include: "rules/report.smk"
include: "rules/plan.smk"
include: "rules/dry_run.smk"
include: "rules/start.smk"


# Of a module Snakemake runs no onstart.
if workflow.modifier.skip_configfile and workflow.is_main_process and OPERATIONAL["fork_jobs"]:
    copy_client.offer()


report: "docs/captions/report.rst"


onstart:
    say_what_does_not_fit()
    refuse_what_stands_in_the_way()
    try:
        note_what_is_started()
    except OSError as error:
        refused(error)
    if OPERATIONAL["fork_jobs"]:
        copy_client.offer()
    show_what_is_left()


onsuccess:
    if CONSOLE:
        CONSOLE.end()
    if study_is_asked_for():
        minutes, seconds = divmod(round(time.monotonic() - STARTED), 60)
        print(f"This start took {minutes} min {seconds} s: open {RESULTS}/index.html", file=sys.stderr)


rule all:
    default_target: True
    input:
        f"{RESULTS}/index.html",
        f"{RESULTS}/report.html",
        sorted(set(everything())),  # so that a file which was deleted is made again
    localrule: True
    message:
        "The study is complete"
