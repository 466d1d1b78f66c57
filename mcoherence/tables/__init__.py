"""Result files of many runs as tidy tables, one module a table."""
