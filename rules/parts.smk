# Runs with much to measure or evaluate are done in parts, each a job: some checkpoints, some of the examples.
#
# How large the parts are is operational and must re-run nothing, but Snakemake runs a job again whose set of input files
# differs from the recorded one, temporary or not. So coherence.h5 and its like are made from a file of one name,
# `whole.h5`, whatever the parts are; and the job that joins parts into it has a second output, named by the sizes: where
# sizes are new, so is that output, and there is no record of the job to differ from. Settings and code are compared where
# the result is made, and name the folder, so that parts which a killed study left behind never get into another whole.
from mcoherence.files.digests import SHORT_DIGEST, short_digest

PARTS = f"{RUN}/parts/{{result}}/{{key}}"
SHARD = f"{PARTS}/steps{{first}}-{{last}}_shard{{shard}}of{{shards}}.h5"
BLOCK = f"{PARTS}/steps{{first}}-{{last}}_{{shards}}shards.h5"
WHOLE = f"{PARTS}/whole.h5"
CUT = f"{PARTS}/cut_into_{OPERATIONAL['checkpoints_per_job']}_{OPERATIONAL['examples_per_shard']}"
RESULT_NAME = f"{RUN_NAME}/{{result}}/{{key}}"
BLOCK_NAME = f"{RESULT_NAME}/steps{{first}}-{{last}}_{{shards}}shards"
PART_NAME = f"{RESULT_NAME}/steps{{first}}-{{last}}_shard{{shard}}of{{shards}}"
OF_RESULTS = ("jobs_per_gpu", "workers", "images_memory_mb", "deterministic", "cpu_batch_mb", "gpu_batch_mb")
MEASURED = "|".join(names_of(name) for name, kind in KINDS.items() if kind.groups(config))  # sums of gradients


wildcard_constraints:
    key=f"[0-9a-f]{{{SHORT_DIGEST}}}",
    first=r"\d+",
    last=r"\d+",
    shard=r"\d+",
    shards=r"\d+",


def result_of(wildcards, pattern):
    """Name of a result, which is `pattern` with the size of the sample where that is a wildcard."""
    return pattern.format(**wildcards)


def settings_of_result(pattern):
    """Param function: what a result depends on besides its files, in parts or not."""

    def of_run(wildcards):
        return canonical_json(result(result_of(wildcards, pattern)).settings(config, run_of(wildcards)))

    return of_run


def code_of_result(wildcards, name):
    """Digest of the code that makes a result of the run that the wildcards name, in parts or at once."""
    return code_of(job_code.whole_result(config, run_of(wildcards), name))


@cache
def cut_of(run, name):
    """How a result of a run is cut into jobs; asked for again and again."""
    return cutting.cut_of(config, run, name)


def whole_of(wildcards, name):
    """What a result in parts is made from, or nothing where it is made at once."""
    run = run_of(wildcards)
    if cut_of(run, name).whole:
        return []
    depends_on = f"{code_of_result(wildcards, name)} {canonical_json(result(name).settings(config, run))}"
    return WHOLE.format(**{**wildcards, "result": name, "key": short_digest(depends_on)})


def steps_of_block(wildcards):
    """Numbers of updates of the checkpoints in the block that the wildcards name."""
    steps = steps_of_result(wildcards, wildcards.result)
    return cutting.block_steps(steps, int(wildcards.first), int(wildcards.last))


def checkpoints_of_block(wildcards):
    """The checkpoints of the block that the wildcards name: it waits for no others, so for no later training."""
    run = run_of(wildcards)
    return [run.checkpoint(RESULTS, step) for step in steps_of_block(wildcards)]


def shards_of_block(wildcards):
    """The shards of the block that the wildcards name."""
    return expand(SHARD, shard=range(int(wildcards.shards)), **wildcards)


def blocks_of_measurement(wildcards):
    """The blocks of a measurement, each the sum of its shards or, where there is one, that."""
    cut = cut_of(run_of(wildcards), wildcards.result)
    return [
        (SHARD if cut.shards == 1 else BLOCK).format(**wildcards, first=first, last=last, shard=0, shards=cut.shards)
        for first, last in cut.blocks
    ]


def parts_of_evaluation(wildcards):
    """The shards of all blocks of an evaluation, in order."""
    cut = cut_of(run_of(wildcards), wildcards.result)
    return [
        SHARD.format(**wildcards, first=first, last=last, shard=shard, shards=cut.shards)
        for first, last in cut.blocks
        for shard in range(cut.shards)
    ]


def result_mb(wildcards, name):
    """Memory in MB of a job that makes a result, or a part of one."""
    run, measures = run_of(wildcards), result(name).groups(config) > 0
    on_device = estimates.result_bytes(config, run, name, bool(GPU))
    of_job = estimates.job_mb(config, run, on_device, bool(GPU), bytes_per_value=8 if measures else 4)
    return of_job if measures else of_job + estimates.table_mb(config, run)


def resources_of_part(name_of):
    """Resources of the jobs that make parts of a result; `name_of` is a function of the wildcards, its name."""

    def minutes(wildcards):
        run, checkpoints = run_of(wildcards), len(steps_of_block(wildcards))
        passes = estimates.result_passes(config, run, name_of(wildcards), checkpoints, int(wildcards.shards))
        return estimates.minutes(config, run, passes)

    return {
        "mem_mb": growing(lambda w: result_mb(w, name_of(w))),
        "runtime": lasting(minutes),
        "gpu": GPU,
        "device": config["device"],
        **{name: int(OPERATIONAL[name]) for name in OF_RESULTS},
    }


def resources_of_result(name_of):
    """Resources of the jobs that make a result; where one only copies what parts were joined to, it needs no GPU."""

    def minutes(wildcards):
        run = run_of(wildcards)
        return estimates.minutes(config, run, estimates.result_passes(config, run, name_of(wildcards)))

    whole = {
        "runtime": lasting(minutes),
        "gpu": lambda w: 0 if whole_of(w, name_of(w)) else GPU,
        "device": lambda w: "cpu" if whole_of(w, name_of(w)) else config["device"],
    }
    return resources_of_part(name_of) | whole
