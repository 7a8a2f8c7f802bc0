"""An accelerator as data: target.toml, checked key by key."""

from hwopt.target.file import Target, read_target

__all__ = ["Target", "read_target"]
