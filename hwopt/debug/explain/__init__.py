"""One choice: all its values, and what became of each."""
