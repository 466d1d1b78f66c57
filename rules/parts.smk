# Runs with much to measure or evaluate are done in parts, each a job: some checkpoints, some of the examples.
#
# How large the parts are is operational and must re-run nothing, but Snakemake runs a job again whose set of input files
# differs from the recorded one, temporary or not. So coherence.h5 and evaluation.h5 are made from a file of one name,
# `whole.h5`, whatever the parts are; and the job that joins parts into it has a second output, named by the sizes: where
# sizes are new, so is that output, and there is no record of the job to differ from. Settings and code are compared where
# the result is made, and name the folder, so that parts which a killed study left behind never get into another whole.
from hashlib import sha256

from mcoherence import cutting

PARTS = f"{RUN}/parts/{{result}}/{{key}}"
SHARD = f"{PARTS}/steps{{first}}-{{last}}_shard{{shard}}of{{shards}}.h5"
BLOCK = f"{PARTS}/steps{{first}}-{{last}}_{{shards}}shards.h5"
WHOLE = f"{PARTS}/whole.h5"
CUT = f"{PARTS}/cut_into_{OPERATIONAL['checkpoints_per_job']}_{OPERATIONAL['examples_per_shard']}"
RESULT_NAME = f"{RUN_NAME}/{{result}}/{{key}}"
BLOCK_NAME = f"{RESULT_NAME}/steps{{first}}-{{last}}_{{shards}}shards"
PART_NAME = f"{RESULT_NAME}/steps{{first}}-{{last}}_shard{{shard}}of{{shards}}"


wildcard_constraints:
    key="[0-9a-f]{16}",
    first=r"\d+",
    last=r"\d+",
    shard=r"\d+",
    shards=r"\d+",


def whole_of(wildcards, result, rule_name, settings):
    """The file that the parts of a run's result are joined to."""
    key = sha256(f"{code_of(rule_name)} {settings}".encode()).hexdigest()[:16]
    return WHOLE.format(**{**wildcards, "result": result, "key": key})


def named_size(wildcards):
    """The size of a sample of another size than all runs have, if the wildcard `size` or `result` names one, else None."""
    size = getattr(wildcards, "size", getattr(wildcards, "result", "").removeprefix("coherence").removeprefix("_m"))
    return int(size) if size else None


def sample_size_of(wildcards):
    """Training examples of the measurement that the wildcards name."""
    return named_size(wildcards) or config["measurement"]["sample_size"]


def settings_of_measurement(wildcards):
    """What the measurement that the wildcards name depends on besides its files, in parts or not."""
    size = named_size(wildcards)
    if size is None:
        return canonical_json(study.measurement_settings(config, wildcards.subset))
    return canonical_json(study.sample_size_settings(config, size))


def coherence_parts(wildcards):
    """What a measurement in parts is made from, or nothing where it is made at once."""
    examples, size = measured_examples(wildcards, sample_size_of(wildcards)), named_size(wildcards)
    if not cutting.in_parts(examples, len(steps_of(wildcards)), cutting.MEASURED_IN_PARTS):
        return []
    result = "coherence" if size is None else f"coherence_m{size}"
    return whole_of(wildcards, result, "measure_coherence", settings_of_measurement(wildcards))


def evaluation_parts(wildcards):
    """What an evaluation in parts is made from, or nothing where it is made at once."""
    size = size_of_data(wildcards)
    if not cutting.in_parts(size.train + size.test, len(steps_of(wildcards)), cutting.EVALUATED_IN_PARTS):
        return []
    return whole_of(wildcards, "evaluation", "evaluate", canonical_json({}))


def blocks_of(wildcards):
    """(first, last) step of each block of checkpoints of the run that the wildcards name."""
    return cutting.blocks(steps_of(wildcards), OPERATIONAL["checkpoints_per_job"])


def steps_of_block(wildcards):
    """Numbers of updates of the checkpoints in the block that the wildcards name."""
    return cutting.block_steps(steps_of(wildcards), int(wildcards.first), int(wildcards.last))


def checkpoints_of_block(wildcards):
    """The checkpoints of the block that the wildcards name: it waits for no others, so for no later training."""
    return expand(CHECKPOINT, step=steps_of_block(wildcards), **wildcards)


def shards_of_block(wildcards):
    """The shards of the block that the wildcards name."""
    return expand(SHARD, shard=range(int(wildcards.shards)), **wildcards)


def blocks_of_coherence(wildcards):
    """The blocks of a measurement, each the sum of its shards or, where there is one, that."""
    examples = measured_examples(wildcards, sample_size_of(wildcards))
    shards = cutting.shard_count(examples, OPERATIONAL["examples_per_shard"])
    return [
        (SHARD if shards == 1 else BLOCK).format(**wildcards, first=first, last=last, shard=0, shards=shards)
        for first, last in blocks_of(wildcards)
    ]


def evaluation_shards(wildcards):
    """Number of shards of the examples that an evaluation is cut into."""
    size = size_of_data(wildcards)
    examples_per_shard = OPERATIONAL["examples_per_shard"]
    least = examples_per_shard and max(examples_per_shard, cutting.EVALUATION_BATCH)
    return cutting.shard_count(size.train + size.test, least)


def parts_of_evaluation(wildcards):
    """The shards of all blocks of an evaluation, in order."""
    shards = evaluation_shards(wildcards)
    return [
        SHARD.format(**wildcards, first=first, last=last, shard=shard, shards=shards)
        for first, last in blocks_of(wildcards)
        for shard in range(shards)
    ]
