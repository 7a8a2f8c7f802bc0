"""What broke: a folder that shows it again, or a run that goes on without it."""
