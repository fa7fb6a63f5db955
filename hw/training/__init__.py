"""Training: the controller of its pipeline."""
