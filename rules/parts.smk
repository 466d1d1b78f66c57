# Runs with much to measure or evaluate are done in parts, each a job: some checkpoints, some of the examples.
#
# How large the parts are is operational and must re-run nothing, but Snakemake runs a job again whose set of input files
# differs from the recorded one, temporary or not. So coherence.h5 and its like are made from a file of one name,
# `whole.h5`, whatever the parts are; and the job that joins parts into it has a second output, named by the sizes: where
# sizes are new, so is that output, and there is no record of the job to differ from. Settings and code are compared where
# the result is made, and name the folder, so that parts which a killed study left behind never get into another whole.
from hashlib import sha256

from mcoherence.measuring.shards import EVALUATED_BATCH
from mcoherence.study import cutting

PARTS = f"{RUN}/parts/{{result}}/{{key}}"
SHARD = f"{PARTS}/steps{{first}}-{{last}}_shard{{shard}}of{{shards}}.h5"
BLOCK = f"{PARTS}/steps{{first}}-{{last}}_{{shards}}shards.h5"
WHOLE = f"{PARTS}/whole.h5"
CUT = f"{PARTS}/cut_into_{OPERATIONAL['checkpoints_per_job']}_{OPERATIONAL['examples_per_shard']}"
RESULT_NAME = f"{RUN_NAME}/{{result}}/{{key}}"
BLOCK_NAME = f"{RESULT_NAME}/steps{{first}}-{{last}}_{{shards}}shards"
PART_NAME = f"{RESULT_NAME}/steps{{first}}-{{last}}_shard{{shard}}of{{shards}}"
MEASURED = r"coherence(_m\d+)?|contributions|difficulty_coherence"  # results that are sums of gradients


wildcard_constraints:
    key="[0-9a-f]{16}",
    first=r"\d+",
    last=r"\d+",
    shard=r"\d+",
    shards=r"\d+",


def whole_of(wildcards, result, rule_name, settings):
    """The file that the parts of a run's result are joined to."""
    code = code_of(rule_name) + code_of_network(wildcards)
    key = sha256(f"{code} {settings}".encode()).hexdigest()[:16]
    return WHOLE.format(**{**wildcards, "result": result, "key": key})


def coherence_of(wildcards):
    """Name of the result that the wildcards of `measure_coherence` name: of the sample that all runs have, or of another."""
    return f"coherence_m{wildcards.size}" if hasattr(wildcards, "size") else "coherence"


def settings_of_measurement(wildcards, result):
    """What a measured result of the run that the wildcards name depends on besides its files, in parts or not."""
    if result == "contributions":
        return canonical_json(study.contribution_settings(config))
    if result == "difficulty_coherence":
        return canonical_json(config["measurement"])
    if result == "coherence":
        return canonical_json(study.measurement_settings(config, wildcards.subset))
    size = int(result.removeprefix("coherence_m"))
    return canonical_json(study.sample_size_settings(config, size))


def measured_examples(wildcards, result):
    """How many examples a measured result of the run takes at each checkpoint."""
    return cutting.measured_examples(result, config["measurement"], size_of_data(wildcards))


def measured_parts(wildcards, result):
    """What a measured result in parts is made from, or nothing where it is made at once."""
    examples = measured_examples(wildcards, result)
    if not cutting.in_parts(examples, len(steps_of(wildcards)), cutting.MEASURED_IN_PARTS):
        return []
    rule_name = f"measure_{'coherence' if result.startswith('coherence_m') else result}"
    return whole_of(wildcards, result, rule_name, settings_of_measurement(wildcards, result))


def measuring_resources(result_of):
    """Resources of a rule that measures a run; where it only copies what parts were joined to, it needs no GPU.

    `result_of` is a function of the wildcards: the name of the result.
    """
    whole = {
        "runtime": growing(lambda w: measuring_minutes(w, result_of(w))),
        "gpu": lambda w: 0 if measured_parts(w, result_of(w)) else GPU,
        "device": lambda w: "cpu" if measured_parts(w, result_of(w)) else config["device"],
    }
    return part_resources() | whole


def part_resources():
    """Resources of a rule that measures a part of a run."""
    return {
        "mem_mb": growing(lambda w: compute_mb(w, 256, bytes_per_value=8)),
        "runtime": growing(lambda w: measuring_minutes(w, w.result, len(steps_of_block(w)), int(w.shards))),
        "gpu": GPU,
        "device": config["device"],
        **{name: OPERATIONAL[name] for name in ("jobs_per_gpu", "workers", "images_memory_mb")},
    }


def measuring_minutes(wildcards, result, checkpoints=None, shards=1):
    """Minutes that measuring may take, at every checkpoint unless told; an example costs two passes."""
    size, checkpoints = size_of_data(wildcards), checkpoints or len(steps_of(wildcards))
    measured = measured_examples(wildcards, result) / shards
    return minutes(wildcards, 2 * checkpoints * measured / (size.train + size.test))


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


def blocks_of_measurement(wildcards):
    """The blocks of a measurement, each the sum of its shards or, where there is one, that."""
    examples = measured_examples(wildcards, wildcards.result)
    shards = cutting.shard_count(examples, OPERATIONAL["examples_per_shard"])
    return [
        (SHARD if shards == 1 else BLOCK).format(**wildcards, first=first, last=last, shard=0, shards=shards)
        for first, last in blocks_of(wildcards)
    ]


def evaluation_shards(wildcards):
    """Number of shards of the examples that an evaluation is cut into."""
    size = size_of_data(wildcards)
    examples_per_shard = OPERATIONAL["examples_per_shard"]
    least = examples_per_shard and max(examples_per_shard, EVALUATED_BATCH)
    return cutting.shard_count(size.train + size.test, least)


def parts_of_evaluation(wildcards):
    """The shards of all blocks of an evaluation, in order."""
    shards = evaluation_shards(wildcards)
    return [
        SHARD.format(**wildcards, first=first, last=last, shard=shard, shards=shards)
        for first, last in blocks_of(wildcards)
        for shard in range(shards)
    ]
