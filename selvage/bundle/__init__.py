"""The files of a compiled model for other tools: Verilog, macros, self-tests, pages, flow files, shells."""
