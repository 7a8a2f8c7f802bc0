"""Which step of a plan breaks a check."""
