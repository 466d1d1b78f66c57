# One rule per segment of a run: `train` from fresh weights, `train_from_N` from the state after N updates. A segment's
# params are what it depends on and never the number of updates in all, so that longer training adds rules at the end.
OPERATIONAL = config["operational"]

for start, stop in study.segments(config["training"]):
    name = f"train_from_{start}" if start else "train"

    rule:
        name:
            name
        input:
            images=IMAGES,
            labels=LABELS,
            split=split_of,
            begin=begin_of(start),
        output:
            checkpoints=expand(
                CHECKPOINT,
                step=study.segment_checkpoints(config["training"], start, stop),
                allow_missing=True,
            ),
            # Kept, so that more updates can go on from here. A killed job resumes from the folder beside it.
            state=expand(STATE, update=stop, allow_missing=True),
            log=f"{RUN}/training_log_from_{start}.csv" if start else f"{RUN}/training_log.csv",
        log:
            f"{LOGS}/{name}/{RUN_NAME}.log",
        benchmark:
            f"{BENCHMARKS}/{name}/{RUN_NAME}.tsv"
        conda:
            CONDA
        threads: OPERATIONAL["ranks"]
        # Operational settings are resources, not params, and so never re-run a job.
        resources:
            **{key: int(value) for key, value in OPERATIONAL.items()},
            mem_mb=2000,
            runtime=240,
            gpu=GPU * OPERATIONAL["ranks"],
            device=config["device"],
        params:
            settings=segment_settings(start, stop),
            code=code_of("train"),
        message:
            f"Train {{wildcards.model}} on {{wildcards.labels}} labels ({{wildcards.subset}}) with"
            f" {{wildcards.optimizer}}, seed {{wildcards.seed}}, updates {start} to {stop}"
        shell:
            # exec: a signal to the job reaches the trainer, which keeps its state and leaves.
            "exec python -m workflow_scripts.train --settings {params.settings:q} --code {params.code}"
            " --images {input.images:q} --labels {input.labels:q} --split {input.split:q} --begin {input.begin:q}"
            " --checkpoints {output.checkpoints:q} --state {output.state:q} --log {output.log:q}"
            " --ranks {resources.ranks} --resume-interval {resources.resume_interval}"
            " --workers {resources.workers} --images-memory-mb {resources.images_memory_mb}"
            " --channels-last {resources.channels_last} --compile {resources.compile}"
            " --device {resources.device} --threads {threads} > {log:q} 2>&1"
