"""The experiments that a study can make, one module each. A new one is a new module here: it is found by its file."""
