# Paths, settings and resources that several rules share.
from mcoherence.code_digest import code_digest
from mcoherence.data.sources import DECODED_SOURCES, SOURCES
from mcoherence.data.subsets import SUBSETS, TRAINED_HALF
from mcoherence.storage import canonical_json

RESULTS = study.results_folder(config)
RUN = f"{RESULTS}/runs/{{dataset}}/{{model}}/{{labels}}/{{optimizer}}/{{subset}}/seed{{seed}}"
RUN_NAME = "{dataset}/{model}/{labels}/{optimizer}/{subset}/seed{seed}"
IMAGES = f"{RESULTS}/data/{{dataset}}/images.h5"
LABELS = f"{RESULTS}/data/{{dataset}}/labels/{{labels}}/seed{{seed}}/labels.h5"
SPLIT = f"{RESULTS}/splits/{{dataset}}/{{model}}/split.h5"
DIFFICULTY_FILE = f"{RESULTS}/difficulty/{{dataset}}/{{model}}/difficulty.h5"
HALVES = f"{RESULTS}/splits/{{dataset}}/halves.h5"
CHECKPOINT = f"{RUN}/checkpoints/step{{step}}.safetensors"
CHECKPOINTS = expand(CHECKPOINT, step=study.checkpoint_steps(config["training"]), allow_missing=True)
STATE = f"{RUN}/state/update{{update}}.safetensors"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
CONDA = "../envs/study.yaml"
# Operational, hence resources and not params: another device never re-runs a job by itself.
GPU = int(config["device"] == "cuda")


wildcard_constraints:
    dataset="|".join(config["datasets"]),
    model="|".join(config["models"]),
    labels="|".join(config["labels"]),
    optimizer="|".join(config["optimizers"]),
    subset="|".join((study.FULL, *SUBSETS, *TRAINED_HALF)),
    seed=r"\d+",


def code_of(rule_name):
    """Digest of the code that the rule's command reaches; a param, so that edits re-run what they reach."""
    return code_digest(f"workflow_scripts.{rule_name}", BASE)


def run_of(wildcards):
    """The run that the wildcards name."""
    names = (
        wildcards.dataset,
        wildcards.model,
        wildcards.labels,
        wildcards.optimizer,
        wildcards.subset,
    )
    return study.Run(*names, int(wildcards.seed))


def source_of(wildcards):
    """The source of the data set that the wildcards name."""
    return config["datasets"][wildcards.dataset]["source"]


def split_of(wildcards):
    """The split that a run on a subset needs; nothing for a run on everything."""
    if wildcards.subset == study.FULL:
        return []
    return (HALVES if wildcards.subset in TRAINED_HALF else SPLIT).format(**wildcards)


def files_of_runs(runs, *names):
    """The named result files of every run."""
    return [f"{run.path(RESULTS)}/{name}" for run in runs for name in names]


def begin_of(start):
    """Input function of the segment that begins after `start` updates: what its weights come from, if not the seed."""
    if start > 0:
        return lambda wildcards: STATE.format(**wildcards, update=start)
    return first_weights


def first_weights(wildcards):
    """The last checkpoint of the run that this one starts from (adversarial initialisation), or nothing."""
    source = study.source_run(config, run_of(wildcards))
    last = config["training"]["updates"]
    return [] if source is None else f"{source.path(RESULTS)}/checkpoints/step{last}.safetensors"


def segment_settings(start, stop):
    """Function of the wildcards: the settings of one segment."""
    return lambda wildcards: canonical_json(study.training_settings(config, run_of(wildcards), start, stop))
