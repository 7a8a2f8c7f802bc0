"""The model after each pass, and what changed."""
