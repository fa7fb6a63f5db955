"""Behavioural crossbars, the functional machine and the cycle model."""

if __name__ != "selvage.sim":
    raise ImportError("this room is imported as selvage.sim")
