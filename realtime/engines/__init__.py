"""Engines: a bundle, loaded and ready to be called block by block."""

from realtime.engines.engine import Engine
from realtime.engines.select import ENGINES, load_engine

__all__ = ["ENGINES", "Engine", "load_engine"]
