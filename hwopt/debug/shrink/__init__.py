"""The smallest piece of a model that still fails, as a case in a folder."""
