"""Accelerators that ship with hwopt: one folder each, data and measurements only."""
