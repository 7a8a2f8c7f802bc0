"""Looking into a run: dumps, comparisons, bisection, reproducers. Nothing here is needed to optimise."""
