from pathlib import Path

EXAMPLE = Path(__file__).with_name("small.toml")
