"""Examples of a batch held against the same examples alone, and the refusal where they differ."""
