# Training, segment by segment. `train` starts from fresh weights, `train_from_N` from the state after N updates. The params
# of a segment are what it depends on and never the number of updates in all, so that longer training adds jobs at the end.
# Runs that are trained in other segments or saved at other steps than most have rules of their own, because the files
# of a job are named in its rule; these are `train_otherwise_2`, `train_otherwise_2_from_N` and so on.

from mcoherence.study.growing import GROWING, amount, held_to_node


def updates_mb(wildcards):
    """Memory in MB of training."""
    run = run_of(wildcards)
    return estimates.job_mb(config, run, estimates.training_bytes(config, run), bool(GPU))


def training_minutes(start, stop):
    """Function of the wildcards: minutes that a segment may take."""

    def of_run(wildcards):
        run = run_of(wildcards)
        return estimates.minutes(config, run, estimates.training_passes(config, run, stop - start))

    return of_run


def only(names):
    """Constraint of the wildcard `dataset`, first in a run's path: the path names one of these entries' combinations."""
    networks = (
        {}
    )  # optimiser -> (data set, model)s: those alike share an alternative, or hundreds of entries take minutes
    for dataset, model, optimizer in names:
        networks.setdefault(optimizer, []).append(f"{dataset}/{model}")
    alike = {}
    for optimizer, of_optimizer in networks.items():
        alike.setdefault("|".join(of_optimizer), []).append(optimizer)
    paths = "|".join(f"(?:{of_all})/[^/]+/(?:{'|'.join(optimizers)})/" for of_all, optimizers in alike.items())
    return f"(?={paths})[^/]+"


def begin_of(start):
    """Input function of the segment that begins after `start` updates: what its weights come from, if not the seed."""
    if start > 0:
        return lambda wildcards: STATE.format(**wildcards, update=start)
    return first_weights


def first_weights(wildcards):
    """The last checkpoint of the run that this one starts from (adversarial initialisation), or nothing."""
    source = source_run(config, run_of(wildcards))
    if source is None:
        return []
    return source.checkpoint(RESULTS, settings.training_of_run(config, source)["updates"])


def segment_settings(start, stop):
    """Function of the wildcards: the settings of one segment."""
    return lambda wildcards: canonical_json(settings.training_settings(config, run_of(wildcards), start, stop))


def training_resources(start, stop):
    """Operational settings and what the machine must have; operational.training_resources has the last word."""
    options = {key: int(value) for key, value in OPERATIONAL.items() if key != "training_resources"}
    needs = {
        "mem_mb": growing(updates_mb),
        "runtime": lasting(training_minutes(start, stop)),
        "gpu": GPU * OPERATIONAL["ranks"],
        "device": config["device"],
    }
    given, per_cpu = held_to_node(
        OPERATIONAL["training_resources"], OPERATIONAL["ranks"], node_has("_cores"), node_has("mem_mb")
    )
    most = {"runtime": MOST_MINUTES, "mem_mb_per_cpu": per_cpu}
    grown = {
        name: growing(amount(name, value), most.get(name)) if name in GROWING else value
        for name, value in given.items()
    }
    return options | needs | grown


WAYS_TO_TRAIN = settings.training_jobs(config)

for way, (training, names) in enumerate(WAYS_TO_TRAIN, start=1):
    for start, stop in segments(training):
        name = "train" if way == 1 else f"train_otherwise_{way}"
        name = f"{name}_from_{start}" if start else name

        rule:
            name:
                name
            input:
                images=images_of_run,
                labels=LABELS,
                split=split_of,
                begin=begin_of(start),
                checked=networks_checked if start == 0 else [],
                checked_data=data_checked if start == 0 else [],
            output:
                checkpoints=expand(
                    CHECKPOINT,
                    step=segment_checkpoints(training, start, stop),
                    allow_missing=True,
                ),
                # Kept, so that more updates can go on from here. A killed job resumes from the folder beside it.
                state=expand(STATE, update=stop, allow_missing=True),
                log=f"{RUN}/{training_log(start)}",
            log:
                f"{LOGS}/{name}/{RUN_NAME}.log",
            benchmark:
                f"{BENCHMARKS}/{name}/{RUN_NAME}.tsv"
            wildcard_constraints:
                dataset=only(names) if len(WAYS_TO_TRAIN) > 1 else "|".join(config["datasets"]),
            conda:
                CONDA
            threads: OPERATIONAL["ranks"]
            # Operational settings are resources, not params, and so never re-run a job.
            resources:
                **training_resources(start, stop),
            params:
                settings=segment_settings(start, stop),
                code=lambda wildcards: code_of(job_code.training(config, run_of(wildcards))),
            message:
                f"Train {{wildcards.model}} on {{wildcards.labels}} labels ({{wildcards.subset}}) with"
                f" {{wildcards.optimizer}}, seed {{wildcards.seed}}, updates {start} to {stop}"
            shell:
                # exec, and a step of its own in SLURM: a signal to the job reaches the trainer, which keeps its state and leaves.
                "exec python -m workflow_scripts.jobs.launch --own-step --threads {threads:q} --device {resources.device:q}"
                " --gpus {resources.ranks:q} --jobs-per-gpu {resources.jobs_per_gpu:q} --"
                " python -m workflow_scripts.train --settings {params.settings:q} --code {params.code:q}"
                " --images {input.images:q} --labels {input.labels:q} --split {input.split:q} --begin {input.begin:q}"
                " --checkpoints {output.checkpoints:q} --state {output.state:q} --log {output.log:q}"
                " --ranks {resources.ranks:q} --resume-interval {resources.resume_interval:q}"
                " --channels-last {resources.channels_last:q} --compile {resources.compile:q}"
                f"{COMPUTING}{TO_LOG}"
