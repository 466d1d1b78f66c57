for figure, entry in catalogue.figures_of(config).items():
    tables = catalogue.tables_of_figure(config, entry)
    stores = [IMAGES.format(dataset=dataset) for dataset in config["easy_hard"]["datasets"]] if entry.images else []

    rule:
        name:
            f"draw_{figure}"
        input:
            **{table: f"{RESULTS}/tables/{table}.parquet" for table in tables},
            images=stores,
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
            settings=canonical_json(config["figures"]),
            code=code_of(f"draw_{figure}"),
            # Not in the command itself: Snakemake formats that later, when the loop has moved on.
            module=f"workflow_scripts.draw_{figure}",
            tables=" ".join(
                [f"--{table.replace('_', '-')} {RESULTS}/tables/{table}.parquet" for table in tables]
                + (["--images", *stores] if stores else [])
            ),
        message:
            f"Draw {figure.replace('_', ' ')}"
        shell:
            "python -m {params.module} --settings {params.settings:q} {params.tables}"
            " --png {output.png:q} --pdf {output.pdf:q}" + TO_LOG
