"""The crossbar macro as seen by tools: Verilog models, black box, Liberty, LEF, GDSII."""
