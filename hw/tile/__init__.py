"""Tiles: arrays that share an input buffer, and their periphery."""
