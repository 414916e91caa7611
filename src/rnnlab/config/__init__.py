"""From overrides to a checked config, and from a config to objects. Imports neither torch nor Lightning."""

from typing import Any

# name -> module; imported at first use, because pydantic and Hydra are slow to import and --help needs neither
_HOME = {
    "base_config": "composing",
    "build": "building",
    "check": "checking",
    "compose": "composing",
    "config_folder": "origins",
    "deciding": "identity",
}

__all__ = ["base_config", "build", "check", "compose", "config_folder", "deciding"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
