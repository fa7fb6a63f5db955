"""The page of a model: what was counted of it, and plots of that in one file."""
