"""Gateware."""

if __name__ != "selvage.hw":
    raise ImportError("this room is imported as selvage.hw")
