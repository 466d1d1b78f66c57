# What happens at a start of Snakemake besides planning: what is there is compared with what would be made, and what the
# study starts with is noted. Jobs that read the workflow themselves, those of SLURM and of groups, are held to that note.
import atexit
from contextlib import suppress

from mcoherence.audit.why import record_code
from mcoherence.errors import UserError
from mcoherence.files.faults import refusal_of_system, require_places
from mcoherence.study.code_digest import keep_what_was_read, module_digest, source_file
from mcoherence.study.network_code import own_modules
from workflow_scripts.group_errors import tell_of_groups
from workflow_scripts.jobs import started
from workflow_scripts.write_protection import refuse_what_may_not_be_written

CODE_NOTES = Path(RESULTS) / "code"
RULES = {file: started.rules_digest(file) for file in (BASE / "Snakefile", *sorted(BASE.glob("rules/*.smk")))}


def say_what_does_not_fit():
    """Say, once, which files that are there were made otherwise than now; to people, so not where all is quiet."""
    if comparison is None or workflow.dag_settings is None:  # the latter where nothing is planned, as by --lint
        return
    quiet = {str(one).lower() for one in workflow.output_settings.quiet or ()}
    text = comparison.words(heeded="params" in {str(one).lower() for one in workflow.rerun_triggers})
    if text and "all" not in quiet and not getattr(say_what_does_not_fit, "said", False):
        say_what_does_not_fit.said = True
        print(text, file=sys.stderr)
    comparison.keep()


def refused(error):
    """Leave with one line about what the system refused before the first job: a full disk, a folder without permission."""
    sys.exit(f"error: {refusal_of_system(error) or error}")


def refuse_what_stands_in_the_way():
    """Leave with one line where a job could not write: Snakemake would end in a traceback before it starts one."""
    others = ("index.html", "report.html", *(f"{folder}/any" for folder in ("logs", "benchmarks", "code", "checks")))
    try:
        require_places(Path(RESULTS), (*everything(), *(f"{RESULTS}/{name}" for name in others)))
    except UserError as error:
        sys.exit(f"error: {error}")


def note_what_is_started():
    """Note code and config for `make why` and for the jobs, each of which compares what it runs."""
    code_of(job_code.of_study(config))
    for digest, modules in CODE.items():
        record_code(CODE_NOTES, digest, modules)
    modules = {name: digest for found in CODE.values() for name, digest in found.items()}
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mcoherence", "workflow_scripts")]:
        if name not in modules and (digest := module_digest(name, BASE)):
            modules[name] = digest
    files = {name: (digest, source_file(name, BASE)) for name, digest in modules.items()}
    # Of all entries: a run that the study itself does not make can be asked for by its path.
    for architecture in {str(entry.get("architecture")) for entry in config["models"].values()}:
        with suppress(SyntaxError):  # of an entry that nothing uses; the settings of one that is used say it in a line
            for name, digest in own_modules(architecture).items() if ":" in architecture else ():
                files.setdefault(name, (digest, source_file(name, Path.cwd(), BASE)))
    started.write_start(CODE_NOTES, files, RULES, json.loads(canonical_json(settings.scientific(config))))


def show_what_is_left():
    """From now on a person sees how much is done and how long the rest will take."""
    if CONSOLE:
        queued = node_has("_nodes")  # jobs that a cluster is given at a time; None on this machine
        there_is = {"cores": queued or node_has("_cores") or 1}
        if GPU:
            there_is["gpu"] = node_has("gpu") or queued or 1
        CONSOLE.begin(
            workflow.dag, canonical_json(config), BASE, there_is, bool(GPU), OPERATIONAL["ranks"], queued is not None
        )


@cache
def folders_prepared():
    """images.h5 -> the folder of images that it is made from, of entries that have one."""
    runs = [run for run in catalogue.all_runs(config) if config["datasets"][run.dataset]["source"] == "folder"]
    roots = {run.dataset: Path(config["data_folder"], config["datasets"][run.dataset]["root"]) for run in runs}
    return {run.file(RESULTS, images_of(config, run)): roots[run.dataset] for run in runs}


@cache
def why_prepared_again(path):
    """Why an images.h5 is made again whose folder now holds other images than it was made from; "" where it is not.

    Asked of what is compared alone, so that nothing is looked for where no images are needed, as by `make plan`.
    """
    from mcoherence.data.folder_listing import has_changed

    root = folders_prepared().get(path)
    try:
        changed = root is not None and has_changed(Path(path), root)
    except OSError as error:
        raise UserError(refusal_of_system(error) or f"{root}: cannot be read ({error}); mend that") from error
    return f"images in {root} were added, removed or changed" if changed else ""


comparison = None
if workflow.is_main_process:
    if "--lint" not in sys.argv:  # which writes nothing
        atexit.register(keep_what_was_read)
        refuse_what_may_not_be_written()
    tell_of_groups()
    if Path(RESULTS).exists() and "--report" not in sys.argv:
        from workflow_scripts.comparing import Comparison  # reads files, for which it imports what takes its time

        comparison = Comparison(Path(RESULTS), changed=why_prepared_again)
        if trouble := comparison.install():
            print(trouble, file=sys.stderr)
        atexit.register(say_what_does_not_fit)
elif start := started.start_of_jobs(CODE_NOTES):
    try:
        started.check_rules_and_modules(start, sys.modules)
        started.check_config(start, json.loads(canonical_json(settings.scientific(config))))
    except started.Edited as error:
        sys.exit(str(error))
