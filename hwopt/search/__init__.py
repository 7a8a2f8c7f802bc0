"""Search strategies behind one signature: one value per choice, under hard limits."""
