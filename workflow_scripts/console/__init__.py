"""What a person sees while a study runs: a line a job, what is left, and of failures their messages.

It takes the place of the handler by which Snakemake writes to the terminal, and of nothing else: whatever goes wrong in
it, that handler comes back. Whoever asks Snakemake for more or less (--verbose, --quiet, --printshellcmds, a logger of
his own) gets Snakemake's own words. docs/architecture.md says why this is no logger plugin.
"""
