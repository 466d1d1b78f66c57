"""Result files of many runs as tidy tables, one module a table.

The module of a table has its name, the function `table` that makes it of its runs, and the columns that no other has.
"""
