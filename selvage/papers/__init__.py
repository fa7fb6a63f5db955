"""The figures of the papers that selvage builds on, recomputed."""
