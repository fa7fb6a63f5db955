"""Descriptions and their limits: chips, layers, networks, formats, files; everything builds on them."""
