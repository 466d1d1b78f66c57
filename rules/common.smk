# Paths, settings and resources that several rules share.
from functools import cache

from mcoherence.files.canonical import canonical_json
from mcoherence.study.code_digest import digest_of, module_digests, package_digests
from mcoherence.study.data_sizes import size_of
from mcoherence.data.source_modules import DECODED_SOURCES, SOURCES
from mcoherence.data.subsets import SUBSETS, TRAINED_HALF
from mcoherence.study.segments import checkpoint_steps, segment_checkpoints, segments

RESULTS = runs_of_study.results_folder(config)
RUN = f"{RESULTS}/runs/{{dataset}}/{{model}}/{{labels}}/{{optimizer}}/{{subset}}/seed{{seed}}"
RUN_NAME = "{dataset}/{model}/{labels}/{optimizer}/{subset}/seed{seed}"
IMAGES = f"{RESULTS}/data/{{dataset}}/images.h5"
LABELS = f"{RESULTS}/data/{{dataset}}/labels/{{labels}}/seed{{seed}}/labels.h5"
SPLIT = f"{RESULTS}/splits/{{dataset}}/{{model}}/split.h5"
DIFFICULTY_FILE = f"{RESULTS}/difficulty/{{dataset}}/{{model}}/difficulty.h5"
HALVES = f"{RESULTS}/splits/{{dataset}}/halves.h5"
CHECKPOINT = f"{RUN}/checkpoints/step{{step}}.safetensors"
STATE = f"{RUN}/state/update{{update}}.safetensors"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
CONDA = "../envs/study.yaml"
# Operational, hence resources and not params: another device never re-runs a job by itself.
GPU = int(config["device"] == "cuda")
OPERATIONAL = config["operational"]
CODE = {}  # digest of the code of a rule -> its modules
BASE_MB = 2000  # of a job before it has read anything: Python, torch, and torch's libraries for a GPU


wildcard_constraints:
    dataset="|".join(config["datasets"]),
    model="|".join(config["models"]),
    labels="|".join(config["labels"]),
    optimizer="|".join(config["optimizers"]),
    subset="|".join((runs_of_study.FULL, *SUBSETS, *TRAINED_HALF)),
    seed=r"\d+",


def code_of(rule_name):
    """Digest of the code that the rule's command reaches; a param, so that edits re-run what they reach."""
    return code_of_module(f"workflow_scripts.{rule_name}")


@cache
def code_of_module(module):
    """Digest of the code that a module reaches."""
    return noted(module_digests(module, BASE))


@cache
def code_of_package(package):
    """Digest of the code that the modules of a folder reach, where a command finds them by that folder."""
    return noted(package_digests(package, BASE))


def noted(modules):
    """Digest of these modules, noted for `make why`."""
    CODE[digest_of(modules)] = modules
    return digest_of(modules)


def run_of(wildcards):
    """The run that the wildcards name."""
    names = (
        wildcards.dataset,
        wildcards.model,
        wildcards.labels,
        wildcards.optimizer,
        wildcards.subset,
    )
    return runs_of_study.Run(*names, int(wildcards.seed))


def source_of(wildcards):
    """The source of the data set that the wildcards name."""
    return config["datasets"][wildcards.dataset]["source"]


def checkpoints_of(wildcards):
    """Every checkpoint of the run that the wildcards name."""
    folder = run_of(wildcards).path(RESULTS)  # not expand(), which takes a tenth of the time that a large DAG takes
    return [f"{folder}/checkpoints/step{step}.safetensors" for step in steps_of(wildcards)]


def steps_of(run):
    """Numbers of updates at which a run is saved, named by itself or by wildcards."""
    return steps_of_training(run.dataset, run.model, run.optimizer)


@cache
def steps_of_training(dataset, model, optimizer):
    """Numbers of updates at which runs of these entries are saved; asked for again and again."""
    return checkpoint_steps(study.training_of(config, dataset, model, optimizer))


def size_of_data(run):
    """How large the data set of a run is, named by itself or by wildcards."""
    return size_of(config["datasets"][run.dataset])


def compute_mb(wildcards, batch_size, bytes_per_value=4):
    """Memory in MB of a job that puts images of the run's data set through its network, `batch_size` at a time.

    Kept images are those of operational.images_memory_mb, of either part; larger sets are streamed. Activations are in
    it unless the device is said to be a GPU, which then holds them.
    """
    size = size_of_data(wildcards)
    images = min(2 * OPERATIONAL["images_memory_mb"], size.bytes * bytes_per_value // 10**6)
    activations = 0 if GPU else size.activation_bytes(batch_size) * bytes_per_value // 4 // 10**6
    return BASE_MB * OPERATIONAL["ranks"] + images + activations


def growing(amount):
    """A resource that a job gets once more with every attempt: a retry was short of time or of memory, maybe."""

    def of_attempt(wildcards, attempt):
        return attempt * (amount(wildcards) if callable(amount) else amount)

    return of_attempt


def table_mb(run):
    """Memory in MB for one run's loss and prediction of every example and checkpoint, and what is made of them."""
    size = size_of_data(run)
    return BASE_MB + 16 * len(steps_of(run)) * (size.train + size.test) // 10**6


def minutes(wildcards, passes):
    """Minutes that a job may take: two hours, and 20 minutes more per pass over 2e11 values (ImageNet has as many)."""
    return 120 + int(20 * passes * size_of_data(wildcards).bytes / 2e11)


def split_of(wildcards):
    """The split that a run on a subset needs; nothing for a run on everything."""
    if wildcards.subset == runs_of_study.FULL:
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
    source = runs_of_study.source_run(config, run_of(wildcards))
    if source is None:
        return []
    last = study.training_of_run(config, source)["updates"]
    return f"{source.path(RESULTS)}/checkpoints/step{last}.safetensors"


def segment_settings(start, stop):
    """Function of the wildcards: the settings of one segment."""
    return lambda wildcards: canonical_json(study.training_settings(config, run_of(wildcards), start, stop))
