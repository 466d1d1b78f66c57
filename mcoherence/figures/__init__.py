"""A module per figure, each with one function `draw(tables, style)`: tidy tables in, matplotlib figure out.

A figure more is a module here, an entry in rules/figures.smk, which names its tables, and a caption in docs/captions.
"""
