# Paths, digests of code and pieces of commands that several rules share.
from functools import cache

from mcoherence.data.source_modules import DECODED_SOURCES, module_of_source
from mcoherence.files.canonical import canonical_json
from mcoherence.files.digests import SHORT_DIGEST, short_digest
from mcoherence.study import catalogue, cutting, estimates, job_code, settings
from mcoherence.study.colors import figure_settings
from mcoherence.study.growing import minutes_in_group
from mcoherence.study.network_uses import checked_network, method_that_counts, needs_classes, network_use
from mcoherence.study.result_names import OTHER_SAMPLE
from mcoherence.study.results import ON_OTHER_SAMPLE, names_of, result
from mcoherence.study.results import RESULTS as KINDS
from mcoherence.study.runs import ALL_SUBSETS, STUDY_FILES, Run, results_folder
from mcoherence.study.runs import images_of, source_run, split_varies, subset_file, table_file, training_log
from mcoherence.study.segments import checkpoint_steps, every_nth, segment_checkpoints, segments
from workflow_scripts.waiting import pass_over_inputs

RESULTS = results_folder(config)
RUN_NAME = "{dataset}/{model}/{labels}/{optimizer}/{subset}/seed{seed}"
RUN = f"{RESULTS}/runs/{RUN_NAME}"
IMAGES, LABELS, DIFFICULTY_FILE, SPLIT, HALVES = (
    f"{RESULTS}/{STUDY_FILES[name]}" for name in ("images", "labels", "difficulty", "split", "halves")
)
IMAGES_OF_SEED = f"{RESULTS}/{STUDY_FILES['images_of_seed']}"
CHECKPOINT = f"{RUN}/checkpoints/step{{step}}.safetensors"
STATE = f"{RUN}/state/update{{update}}.safetensors"
FIGURE_SETTINGS = canonical_json(figure_settings(config, catalogue.optimizers_of_study(config)))
CHECKS = f"{RESULTS}/checks"
CHECKS_ARE_INPUTS = pass_over_inputs(f"{CHECKS}/")
CHECKED = f"{CHECKS}/{{dataset}}/{{model}}/{{method}}-{{check}}-{{used}}.json"
CHECKED_ON_DATA = f"{CHECKS}/{{dataset}}/{{model}}/{{method}}-{{check}}-{{used}}-on-data.json"
CHECKED_DATA = f"{CHECKS}/{{dataset}}/data-{{check}}-{{used}}.json"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
CONDA = "../envs/study.yaml"
# Operational, hence resources and not params: another device never re-runs a job by itself.
GPU = int(config["device"] == "cuda")
OPERATIONAL = config["operational"]
CODE = {}  # digest of code -> the modules that it stands for, with their own digests
code_of = job_code.code_at(BASE, CODE.__setitem__)  # a param of every rule, so that edits re-run what they reach
# Pieces of the commands that compute: what goes before and after their own options.
LAUNCH = (
    "python -m workflow_scripts.jobs.launch --device {resources.device:q} --jobs-per-gpu {resources.jobs_per_gpu:q} -- "
)
ON_CPU = "python -m workflow_scripts.jobs.launch --device cpu -- "
COMPUTING = (
    " --workers {resources.workers:q} --images-memory-mb {resources.images_memory_mb:q}"
    " --device {resources.device:q} --threads {threads:q}"
    " --deterministic {resources.deterministic:q}"
)
IN_BATCHES = " --cpu-batch-mb {resources.cpu_batch_mb:q} --gpu-batch-mb {resources.gpu_batch_mb:q}"
TO_LOG = " > {log:q} 2>&1"


wildcard_constraints:
    dataset="|".join(config["datasets"]),
    model="|".join(config["models"]),
    labels="|".join(config["labels"]),
    optimizer="|".join(config["optimizers"]),
    subset="|".join(ALL_SUBSETS),
    seed=r"\d+",


def run_of(wildcards):
    """The run that the wildcards name."""
    names = (wildcards.dataset, wildcards.model, wildcards.labels, wildcards.optimizer, wildcards.subset)
    return Run(*names, int(wildcards.seed))


def source_of(wildcards):
    """The source of the data set that the wildcards name."""
    return config["datasets"][wildcards.dataset]["source"]


def seed_of(wildcards):
    """The seed that the wildcards name, or None where they name none."""
    return int(wildcards.seed) if "seed" in wildcards.keys() else None


def images_of_run(wildcards):
    """The images of the run, or of the data set and seed, that the wildcards name."""
    by_seed = split_varies(config, wildcards.dataset)
    return (IMAGES_OF_SEED if by_seed else IMAGES).format(**wildcards)


def checkpoints_of(wildcards, name):
    """The checkpoints of the run that the wildcards name which a result of this name is made from."""
    run = run_of(wildcards)  # not expand(), which takes a tenth of the time that a large DAG takes
    return [run.checkpoint(RESULTS, step) for step in steps_of_result(wildcards, name)]


def steps_of(run):
    """Numbers of updates at which a run is saved, named by itself or by wildcards."""
    return steps_of_training(run.dataset, run.model, run.optimizer)


def steps_of_result(run, name):
    """Numbers of updates of the checkpoints that a result of a run is made from; run named by itself or by wildcards."""
    return steps_of_evaluation(run.dataset, run.model, run.optimizer) if name == "evaluation" else steps_of(run)


def segments_of(run):
    """(start, stop) of the segments that a run is trained in."""
    return segments_of_training(run.dataset, run.model, run.optimizer)


@cache
def segments_of_training(dataset, model, optimizer):
    """(start, stop) of the segments of runs of these entries; asked for again and again."""
    return segments(settings.training_of(config, dataset, model, optimizer))


@cache
def steps_of_training(dataset, model, optimizer):
    """Numbers of updates at which runs of these entries are saved; asked for again and again."""
    return checkpoint_steps(settings.training_of(config, dataset, model, optimizer))


@cache
def steps_of_evaluation(dataset, model, optimizer):
    """Numbers of updates at which runs of these entries are evaluated; asked for again and again."""
    return every_nth(steps_of_training(dataset, model, optimizer), config.get("evaluation", {}).get("every", 1))


def growing(amount, most=None):
    """A resource that a job gets once more with every attempt, up to `most`: a retry was short of it, maybe.

    What a node has of `mem_mb` need not be said here: Snakemake gives no job more.
    """

    def of_attempt(wildcards, attempt):
        wanted = attempt * (amount(wildcards) if callable(amount) else amount)
        return wanted if most is None else min(wanted, most)

    return of_attempt


def node_has(name):
    """What a job may ask for of a resource at most, as --resources (of the profile) says; None where nothing does."""
    value = workflow.global_resources.get(name).value if name in workflow.global_resources else None
    return value if isinstance(value, int) else None


# Minutes have a limit by a name of their own: by that of `runtime` Snakemake would count those of all jobs as one sum.
MOST_MINUTES = node_has("most_minutes")


def lasting(minutes):
    """The minutes that a job may take, once more with every attempt, up to what the profile says a partition allows."""
    return growing(minutes, MOST_MINUTES)


def table_mb(wildcards):
    """Memory in MB for the loss and prediction of every example and checkpoint of the run that the wildcards name."""
    return estimates.table_mb(config, run_of(wildcards))


@cache
def largest_run_mb():
    """Memory in MB for what the run with the most examples and checkpoints has of `table_mb`; a toy study has none."""
    return max((estimates.table_mb(config, run) for run in catalogue.all_runs(config)), default=0)


def tabulating_mb(wildcards):
    """Memory in MB for a table: it reads the files of one run at a time, or else other tables or nothing at all."""
    return largest_run_mb() if catalogue.TABLES[wildcards.table].files else 2000


@cache
def depth_of_table(name):
    """How many tables are made one after the other until this one is there."""
    return 1 + max((depth_of_table(other) for other in catalogue.TABLES[name].tables if other in TABLES), default=0)


def tabulating_minutes(wildcards, attempt):
    """Minutes for a table, so that all of them in one job of a cluster take no longer than that allows."""
    cores, memory = node_has("_cores") or 1, node_has("mem_mb")
    at_once = cores if memory is None else min(cores, memory // (attempt * max(largest_run_mb(), 2000)))
    levels = max(map(depth_of_table, TABLES))
    return minutes_in_group(attempt, 60, MOST_MINUTES, len(TABLES), levels, at_once)


def split_of(wildcards):
    """The split that a run on a subset needs; nothing for a run on everything."""
    name = subset_file(run_of(wildcards))
    return [] if name is None else run_of(wildcards).file(RESULTS, name)


def reference_files(name):
    """Input function: files of this name, one of each reference run of the network that the wildcards name."""

    def files(wildcards):
        return [run.file(RESULTS, name) for run in references_of(wildcards)]

    return files


def references_of(wildcards):
    """The reference runs of the network that the wildcards name."""
    return catalogue.reference_runs(config, wildcards.dataset, wildcards.model)


def everything():
    """What a study leaves, but for the states between its segments."""
    runs = catalogue.all_runs(config)
    yield from (run.file(RESULTS, name) for run in runs for name in ("images", images_of(config, run), "labels"))
    yield from (run.checkpoint(RESULTS, step) for run in runs for step in steps_of(run))
    yield from (run.training_log(RESULTS, start) for run in runs for start, _ in segments_of(run))
    yield from (run.file(RESULTS, name) for name, made in catalogue.results_of(config).items() for run in made)
    for dataset, model in catalogue.scored_networks(config):
        yield from (file.format(dataset=dataset, model=model) for file in (DIFFICULTY_FILE, SPLIT))
    yield from (HALVES.format(dataset=dataset) for dataset in catalogue.halved_datasets(config))
    yield from (path for table in TABLES.values() for path in (table, f"{table.removesuffix('.parquet')}.csv"))
    yield from (
        f"{RESULTS}/figures/{figure}.{kind}" for figure in catalogue.figures_of(config) for kind in ("png", "pdf")
    )
    yield from (CLAIMS, f"{RESULTS}/claims.html", *(f"{RESULTS}/{name}" for name in DESCRIPTION))


@cache
def was_another(check):
    """Whether files of a check are there, and all of something else: the first digest in a name is of what is checked."""
    what, digest, *_ = check.name.split("-")
    alike = [file for file in check.parent.glob(f"{what}-*.json") if file.name.count("-") == check.name.count("-")]
    return bool(alike) and digest not in {file.name.split("-")[1] for file in alike}


@cache
def checks_of(dataset, model, method):
    """The files of the checks of a network: of itself, and of the number of its outputs where the data alone tell that."""
    network = canonical_json(checked_network(config, dataset, model))
    checked = f"{network} {code_of(job_code.checking(config, model))}"
    names = {"dataset": dataset, "model": model, "method": method}
    names["used"] = short_digest(canonical_json(network_use(config, dataset, model, method)))
    paths = [Path(CHECKED.format(**names, check=short_digest(checked)))]
    if needs_classes(config, dataset, model):
        on_data = short_digest(f"{checked} {digest_of_preparation(dataset)}")
        paths.append(Path(CHECKED_ON_DATA.format(**names, check=on_data)))
    return paths


def networks_checked(wildcards):
    """Input of training from fresh weights: the checks, where they are to be waited for."""
    # In a job of SLURM they are there, or code was edited since.
    if not CHECKS_ARE_INPUTS or not workflow.is_main_process:
        return []
    method = method_that_counts(config, wildcards.model, wildcards.optimizer)
    paths = checks_of(wildcards.dataset, wildcards.model, method)
    there = Path(run_of(wildcards).training_log(RESULTS, 0)).exists()
    if there and not any(map(was_another, paths)):
        return []
    return [str(path) for path in paths if not path.exists()]


@cache
def digest_of_preparation(dataset):
    """Of what decides the images of a data set: settings and code, that of a user's own function too."""
    prepared = canonical_json(settings.preparation_settings(config, dataset, None))
    return short_digest(f"{prepared} {code_of(job_code.preparation(config, dataset))}")


@cache
def data_check_settings(dataset):
    """What a data set of a user's own is checked for: the study, without what decides no number."""
    return canonical_json(
        {
            "dataset": dataset,
            "config": settings.scientific(config),
            "own": settings.scientific(STUDY.own if STUDY else config),
        }
    )


@cache
def data_check_of(dataset):
    """The file of the check of a data set of a user's own.

    Its name holds two digests, as a network's: of the data, on which training depends, and of what the study asks of them.
    """
    used = short_digest(data_check_settings(dataset))
    return Path(CHECKED_DATA.format(dataset=dataset, check=digest_of_preparation(dataset), used=used))


@cache
def own_datasets():
    """The data sets of a study that functions of a user's own return."""
    names = dict.fromkeys(run.dataset for run in catalogue.all_runs(config))
    return [name for name in names if ":" in config["datasets"][name]["source"]]


def study_is_asked_for():
    """Whether all of the study is to be made, and not single files or its plan; so it is taken where nothing is planned."""
    return workflow.dag_settings is None or "all" in (workflow.dag_settings.targets or ("all",))


def data_checked(wildcards):
    """Input of training from fresh weights: the checks of all data sets of a user's own, where they are to be waited for.

    Where single files are asked for and not the study, training waits for that of its own data set alone.
    """
    if not CHECKS_ARE_INPUTS or not workflow.is_main_process or not own_datasets():
        return []
    there = Path(run_of(wildcards).training_log(RESULTS, 0)).exists()
    own = wildcards.dataset in own_datasets()
    if there and not (own and was_another(data_check_of(wildcards.dataset))):
        return []
    whole = study_is_asked_for()
    paths = [data_check_of(name) for name in own_datasets() if whole or name == wildcards.dataset]
    return [str(path) for path in paths if not path.exists()]
