"""What every joint value of every scope costs, in one batched prediction."""
