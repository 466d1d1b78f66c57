# What is taken of a trained run at its checkpoints: a rule for each kind of result, and one for a part of it.
# Rule -> the kind of its results, their names, and what tells its jobs apart.
MADE_BY = {kind.stage: (kind, name, RUN_NAME) for name, kind in KINDS.items()} | {
    ON_OTHER_SAMPLE: (KINDS["coherence"], f"{OTHER_SAMPLE}{{size}}", f"{RUN_NAME}/m{{size}}")
}


def files_of_subset(kind):
    """Input function: the files that say which examples there are, for a kind of result that depends on them."""
    if kind.split:
        return SPLIT
    return split_of if kind.subset else []


for rule_name, (kind, name, job_name) in MADE_BY.items():

    rule:
        name:
            rule_name
        input:
            images=images_of_run,
            labels=LABELS,
            split=files_of_subset(kind),
            checkpoints=lambda w, name=name: checkpoints_of(w, result_of(w, name)),
            parts=lambda w, name=name: whole_of(w, result_of(w, name)),
        output:
            result=f"{RUN}/{name}.h5",
        log:
            f"{LOGS}/{rule_name}/{job_name}.log",
        benchmark:
            f"{BENCHMARKS}/{rule_name}/{job_name}.tsv"
        wildcard_constraints:
            size=r"\d+",
        conda:
            CONDA
        resources:
            **resources_of_result(lambda w, name=name: result_of(w, name)),
        params:
            settings=settings_of_result(name),
            code=lambda w, name=name: code_of_result(w, result_of(w, name)),
            command=kind.command,
        message:
            f"{kind.verb} {{wildcards.model}} on {{wildcards.labels}} labels ({{wildcards.subset}}) with"
            f" {{wildcards.optimizer}}, seed {{wildcards.seed}}"
        shell:
            f"{LAUNCH}"
            "python -m workflow_scripts.{params.command:q} --settings {params.settings:q} --code {params.code:q}"
            " --images {input.images:q} --labels {input.labels:q} --split {input.split:q}"
            " --checkpoints {input.checkpoints:q} --parts {input.parts:q} --result {output.result:q}"
            f"{COMPUTING}{IN_BATCHES}{TO_LOG}"


for name, kind in KINDS.items():

    rule:
        name:
            f"{kind.command}_part"
        input:
            images=images_of_run,
            labels=LABELS,
            split=files_of_subset(kind),
            checkpoints=checkpoints_of_block,
        output:
            result=temp(SHARD),
        log:
            f"{LOGS}/{kind.command}_part/{PART_NAME}.log",
        benchmark:
            f"{BENCHMARKS}/{kind.command}_part/{PART_NAME}.tsv"
        wildcard_constraints:
            result=names_of(name),
        conda:
            CONDA
        resources:
            **resources_of_part(lambda w: w.result),
        params:
            settings=lambda w: settings_of_result(w.result)(w),
            code=lambda w: code_of(job_code.part(config, run_of(w), w.result)),
            command=kind.command,
        message:
            f"{kind.verb} {{wildcards.model}} on {{wildcards.labels}} labels ({{wildcards.subset}}) with"
            f" {{wildcards.optimizer}}, seed {{wildcards.seed}}, steps {{wildcards.first}} to {{wildcards.last}}, shard"
            f" {{wildcards.shard}} of {{wildcards.shards}}"
        shell:
            f"{LAUNCH}"
            "python -m workflow_scripts.{params.command:q} --settings {params.settings:q} --code {params.code:q}"
            " --images {input.images:q} --labels {input.labels:q} --split {input.split:q}"
            " --checkpoints {input.checkpoints:q} --parts --result {output.result:q}"
            " --shard {wildcards.shard:q} --shards {wildcards.shards:q}"
            f"{COMPUTING}{IN_BATCHES}{TO_LOG}"
