"""Gateware."""

from hw.tracing import install

install()
