"""The command line: the only room that prints. `entry.main` is what `hwopt` runs."""
