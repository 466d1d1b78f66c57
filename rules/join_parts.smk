# The parts of a result, put together.


rule add_shards:
    """The shards of a measurement at some checkpoints as one."""
    input:
        shards=shards_of_block,
    output:
        block=temp(BLOCK),
    log:
        f"{LOGS}/add_shards/{BLOCK_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/add_shards/{BLOCK_NAME}.tsv"
    wildcard_constraints:
        result=MEASURED,
    conda:
        CONDA
    resources:
        mem_mb=growing(estimates.BASE_MB),
        runtime=lasting(60),
    params:
        settings=lambda w: settings_of_result(w.result)(w),
        code=lambda w: code_of(job_code.block(config, run_of(w), w.result)),
    message:
        "Add {wildcards.shards} shards of {wildcards.result} of {wildcards.model} on {wildcards.labels} labels"
        " ({wildcards.subset}) with {wildcards.optimizer}, seed {wildcards.seed}, steps {wildcards.first} to"
        " {wildcards.last}"
    shell:
        f"{ON_CPU}"
        "python -m workflow_scripts.add_shards --result {wildcards.result:q} --code {params.code:q}"
        " --shards {input.shards:q} --block {output.block:q}"
        f"{TO_LOG}"


rule join_measurement:
    """The blocks of a run's measurement as one."""
    input:
        blocks=blocks_of_measurement,
    output:
        whole=temp(WHOLE),
        cut=temp(touch(CUT)),
    log:
        f"{LOGS}/join_measurement/{RESULT_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/join_measurement/{RESULT_NAME}.tsv"
    wildcard_constraints:
        result=MEASURED,
    conda:
        CONDA
    resources:
        mem_mb=growing(estimates.BASE_MB),
        runtime=lasting(30),
    params:
        settings=lambda w: settings_of_result(w.result)(w),
        code=lambda w: code_of_result(w, w.result),
    message:
        "Join the parts of {wildcards.result} of {wildcards.model} on {wildcards.labels} labels ({wildcards.subset})"
        " with {wildcards.optimizer}, seed {wildcards.seed}"
    shell:
        f"{ON_CPU}"
        "python -m workflow_scripts.join_measurement --result {wildcards.result:q} --code {params.code:q}"
        " --blocks {input.blocks:q} --whole {output.whole:q}"
        f"{TO_LOG}"


rule join_evaluation:
    """The parts of a run's evaluation as one."""
    input:
        parts=parts_of_evaluation,
    output:
        whole=temp(WHOLE),
        cut=temp(touch(CUT)),
    log:
        f"{LOGS}/join_evaluation/{RESULT_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/join_evaluation/{RESULT_NAME}.tsv"
    wildcard_constraints:
        result="evaluation",
    conda:
        CONDA
    resources:
        mem_mb=growing(lambda w: 2 * table_mb(w)),
        runtime=lasting(30),
        sharded=lambda w: "sharded" if cut_of(run_of(w), "evaluation").shards > 1 else "no-sharded",
    params:
        settings=lambda w: settings_of_result("evaluation")(w),
        code=lambda w: code_of_result(w, "evaluation"),
    message:
        "Join the parts of the evaluation of {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with"
        " {wildcards.optimizer}, seed {wildcards.seed}"
    shell:
        f"{ON_CPU}"
        "python -m workflow_scripts.join_evaluation --{resources.sharded:q} --code {params.code:q}"
        " --parts {input.parts:q} --whole {output.whole:q}"
        f"{TO_LOG}"
