"""How anything is written and read, whole and checked, and what a file says of its origin."""
