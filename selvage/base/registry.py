"""Classes found by what they are: a class in a module of a package is known without being listed anywhere."""

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import TypeVar

Kind = TypeVar("Kind")


def instances(kind: type[Kind], package: ModuleType) -> list[Kind]:
    """Return one of each direct subclass of ``kind``, those in the modules of ``package`` among them."""
    load(package.__name__)
    return [subclass() for subclass in kind.__subclasses__()]


@cache
def load(package: str) -> None:
    """Import every module of the package of this name."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
