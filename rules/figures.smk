# One rule per figure of the study's experiments. Its module, mcoherence.figures.NAME, draws it.
for figure, entry in catalogue.figures_of(config).items():

    rule:
        name:
            f"draw_{figure}"
        input:
            tables=[TABLES[table] for table in catalogue.tables_of_figure(config, entry)],
            images=catalogue.images_of_figure(config, entry),
        output:
            png=report(
                f"{RESULTS}/figures/{figure}.png",
                category=entry.section,
                caption=f"../docs/captions/figures/{figure}.rst",
                labels={"figure": entry.title},
            ),
            pdf=f"{RESULTS}/figures/{figure}.pdf",
        log:
            f"{LOGS}/draw_{figure}.log",
        benchmark:
            f"{BENCHMARKS}/draw_{figure}.tsv"
        localrule: True
        conda:
            CONDA
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            settings=FIGURE_SETTINGS,
            code=code_of(job_code.drawing(figure)),
            # Not in the command itself: Snakemake formats that later, when the loop has moved on.
            module=f"mcoherence.figures.{figure}",
        message:
            f"Draw {figure.replace('_', ' ')}"
        shell:
            f"{ON_CPU}"
            "python -m workflow_scripts.draw --module {params.module:q} --settings {params.settings:q} --code {params.code:q}"
            " --tables {input.tables:q} --images {input.images:q}"
            " --png {output.png:q} --pdf {output.pdf:q}"
            f"{TO_LOG}"
