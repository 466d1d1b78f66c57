"""How Snakemake and its executors word what they say, by which the display tells it apart; of Snakemake 9."""

import re

HOUSEKEEPING = re.compile(
    r"Config file .* is extended by additional config|Assuming unrestricted shared filesystem|"
    r"Using shell: |Conda environments: ignored|Singularity containers: ignored|Group jobs: inactive|"
    r"Select jobs to execute|Elapsed time: |Waiting for queue input|"
    r"Shutting down, this might take|RuleException:\s*CalledProcessError|Error in rule |Error in group \S+$"
)
SUBMITTED = re.compile(r"Job (\S+) has been submitted with SLURM jobid '?(\w+)")
TRIED_AGAIN = re.compile(r"Trying to restart job (\d+)\.")
STOPPING = {
    "Terminating processes on user request": "Stopping the jobs that run, as you ask ...",  # Ctrl-C
    "Will exit after finishing": "Ending once the jobs that run have ended, as asked ...",  # SIGTERM
}
OF_A_GROUP = re.compile(r"Error in group (\w+): (.*?)(?:\s*sbatch call:|$)", re.DOTALL)
# What SLURM's executor adds to every failure.
POINTLESS = re.compile(
    r"Detailed failure reason unavailable \([^)]*\)\.?|For further error details see the cluster/cloud.*"
)
AT_THE_END = re.compile(r"Exiting because a job execution failed")
LAST_WORDS = re.compile(r"(WorkflowError:\s*)?At least one job did not complete successfully")
COMPLETE_LOG = re.compile(r"Complete log\(s\): ")
PLANNING = "Building DAG of jobs"
# Events that a line about each job leaves untold.
UNTOLD = {
    "workflow_started", "shellcmd", "job_started", "resources_info", "progress", "debug_dag", "rulegraph",
}  # fmt: skip
