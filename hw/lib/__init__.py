"""Parts that all gateware shares: tables, counters, shared modules, loaded constants."""
