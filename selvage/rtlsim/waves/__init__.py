"""Waves of a tile: what is dumped, how viewers show it, and how it is read again."""
