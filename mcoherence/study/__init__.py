"""What a config asks for: experiments, runs, settings, jobs. Read when Snakemake parses the workflow.

Nothing in this room imports anything heavy (NumPy, torch, pandas): every start of Snakemake waits for it.
"""
