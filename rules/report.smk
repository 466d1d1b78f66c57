from os.path import relpath

FIGURE_FILES = [f"{RESULTS}/figures/{figure}.png" for figure in catalogue.figures_of(config)]
CLAIMS = f"{RESULTS}/claims.json"
DESCRIPTION = ("study.html", "config.json", "tables/dictionary.csv")


rule describe_study:
    """Settings, versions and run times of everything that the report shows."""
    input:
        figures=FIGURE_FILES,
        claims=[f"{RESULTS}/claims.html", CLAIMS],
        tables=TABLES.values(),
        images=catalogue.images_of_study(config),
    output:
        html=report(
            f"{RESULTS}/study.html",
            category="7. Settings, versions, run times",
            caption="../docs/captions/study.rst",
            labels={"item": "settings, versions and run times"},
        ),
        config=f"{RESULTS}/config.json",
        dictionary=f"{RESULTS}/tables/dictionary.csv",
    log:
        f"{LOGS}/describe_study.log",
    benchmark:
        f"{BENCHMARKS}/describe_study.tsv"
    localrule: True
    conda:
        CONDA
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=canonical_json({"config": settings.scientific(config)}),
        code=code_of(job_code.description()),
        results=lambda w, output: str(Path(output.html).parent),
    message:
        "Describe the study"
    shell:
        f"{ON_CPU}"
        "python -m workflow_scripts.describe_study --settings {params.settings:q} --code {params.code}"
        " --results {params.results:q} --claims {input.claims[1]:q}"
        " --figures {input.figures:q} --tables {input.tables:q} --images {input.images:q}"
        " --dictionary {output.dictionary:q} --html {output.html:q} --config {output.config:q}"
        f"{TO_LOG}"


rule page:
    """The study on one page that stands alone: headline, charts to choose from, figures, claims."""
    input:
        figures=FIGURE_FILES,
        claims=[f"{RESULTS}/claims.html", CLAIMS],
        study=f"{RESULTS}/study.html",
        config=f"{RESULTS}/config.json",
        dictionary=f"{RESULTS}/tables/dictionary.csv",
        tables=TABLES.values(),
        captions=sorted(relpath(path) for path in BASE.glob("docs/captions/figures/*.rst")),
    output:
        html=f"{RESULTS}/index.html",
    log:
        f"{LOGS}/page.log",
    benchmark:
        f"{BENCHMARKS}/page.tsv"
    localrule: True
    conda:
        CONDA
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code_of(job_code.page()),
        captions=lambda w, input: str(Path(input.captions[0]).parent),
    message:
        "Write the page"
    shell:
        f"{ON_CPU}"
        "python -m workflow_scripts.write_page --code {params.code:q} --figures {input.figures:q}"
        " --captions {params.captions:q} --claims {input.claims[1]:q} --study {input.study:q} --config {input.config:q}"
        " --dictionary {input.dictionary:q} --tables {input.tables:q} --html {output.html:q}"
        f"{TO_LOG}"


rule report:
    """Snakemake's own report of everything above; made last, so that it never shows what is out of date."""
    input:
        figures=FIGURE_FILES,
        claims=[f"{RESULTS}/claims.html", CLAIMS],
        study=f"{RESULTS}/study.html",
        config=f"{RESULTS}/config.json",
        dictionary=f"{RESULTS}/tables/dictionary.csv",
        tables=TABLES.values(),
        captions=sorted(relpath(path) for path in BASE.glob("docs/captions/**/*.rst")),
        style=relpath(BASE / "docs/captions/report.css"),
    output:
        html=f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{BENCHMARKS}/report.tsv"
    localrule: True
    conda:
        CONDA
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        snakefile=relpath(BASE / "Snakefile"),  # also in a module, whose importer may keep its config elsewhere
        code=code_of(job_code.reporting()),
    message:
        "Write the report"
    shell:
        "python -m workflow_scripts.report --code {params.code:q} --figures {input.figures:q} --claims {input.claims[1]:q}"
        " --study {input.study:q} --config {input.config:q} --dictionary {input.dictionary:q}"
        " --tables {input.tables:q} > {log:q} 2>&1"
        " && snakemake --snakefile {params.snakefile:q} --nolock --workflow-profile none --cores 1"
        " --configfile {input.config:q} --replace-workflow-config --report {output.html:q}"
        " --report-stylesheet {input.style:q}"
        " -- {input.figures:q} {input.claims:q} {input.study:q} >> {log:q} 2>&1"
