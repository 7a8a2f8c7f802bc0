"""What a lossy value does to the model's output, and what that means for a whole plan."""
