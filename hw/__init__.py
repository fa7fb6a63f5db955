"""Gateware."""

if __name__ != "selvage.hw":
    raise ImportError("this room is imported as selvage.hw")

from selvage.verilog.tracing import install

install()
