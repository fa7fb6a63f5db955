"""Files that commands are tried with."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


SMALL = ROOT / "examples" / "layer" / "small.toml"


CHIP = """rows = 16
columns = 16
ou_rows = 4
ou_cols = 4
adc_bits = 3
"""
