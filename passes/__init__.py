"""Rewrites that ship with hwopt: one file each."""
