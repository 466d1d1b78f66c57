"""All batches of a sample, one after the other: which go together, what is counted, and the evidence."""
