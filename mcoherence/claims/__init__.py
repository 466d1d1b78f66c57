"""The papers' claims as tests with uncertainty: tidy tables in, verdicts out."""
