"""Channel groups: everything that has to change when a channel goes."""
