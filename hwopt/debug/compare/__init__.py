"""Two models side by side: outputs, and every tensor that both have."""
