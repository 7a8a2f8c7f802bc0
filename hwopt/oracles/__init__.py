"""Oracles: what measures a subgraph or a whole model on a target."""
