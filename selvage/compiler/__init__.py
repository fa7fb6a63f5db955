"""Compilation: what a chip holds of a model, which mapping each layer takes, and counts of known shapes."""
