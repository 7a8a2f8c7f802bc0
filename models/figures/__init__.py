"""A small image classifier that ships trained, with the code that made its data."""
