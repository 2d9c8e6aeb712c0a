"""Engines: a bundle, loaded and ready to be called block by block."""

from realtime.engines.base import ENGINES, Engine, load_engine

__all__ = ["ENGINES", "Engine", "load_engine"]
