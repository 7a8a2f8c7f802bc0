"""Models to optimise: a small trained network and a fetcher of real pretrained ones.

This folder is not installed with the package; run its modules from the root of the
repository, as in ``python -m models.fetch all -o fetched``.
"""
