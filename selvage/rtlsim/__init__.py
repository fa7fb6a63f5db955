"""Simulation of the generated Verilog: benches, the compiled images they run, what a run that hangs shows."""
