"""Bus wrappers of a network: registers, loading of cells, runs."""
