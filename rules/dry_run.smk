# A dry run of a study of which there is nothing yet ends with what it will take (plan.smk prints it at any time).
import atexit
import os
import re
import subprocess


def plan_command():
    """The command that prints the estimate."""
    settings = ["--settings", canonical_json(config), "--device", config["device"]]
    return [sys.executable, "-m", "workflow_scripts.plan", *settings]


def print_plan(process):
    """What the estimate came to, or why there is none."""
    text, errors = process.communicate()
    print(text or f"no estimate of time and disk: {errors.strip().splitlines()[-1]}")


def is_first_dry_run(arguments):
    """Whether a dry run was asked for in full, of a study of which there is nothing yet; Snakemake says so too late."""
    dry = any(argument == "--dry-run" or re.fullmatch("-[a-zA-Z]*n[a-zA-Z]*", argument) for argument in arguments)
    return dry and not {"-q", "--quiet"} & set(arguments) and not Path(RESULTS).exists()


if is_first_dry_run(sys.argv):
    environment = os.environ | {"PYTHONPATH": str(BASE)}
    process = subprocess.Popen(
        plan_command(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    atexit.register(print_plan, process)
