"""What is said about a study before, between and after its jobs: plan, reasons to run, checks of the results."""
