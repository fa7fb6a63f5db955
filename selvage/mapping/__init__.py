"""Mapping of layers onto crossbars: schedules, placements, packing, load and drain plans, widths."""
