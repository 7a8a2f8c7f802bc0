"""Scores of networks that nobody trained yet."""
