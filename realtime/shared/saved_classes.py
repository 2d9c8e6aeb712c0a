"""Which classes a recording's state may consist of, each by an id that outlives where the class stands.

    @saved("ramp")
    class Ramp: ...

A state names ids and nothing else; reading one looks ids up here and imports nothing. A class may move and change
its name as it likes; its id stays. Where an attribute changes its name, `renamed` says so, with a dot where it
has moved into a part ("_fade.position"); where a class does what another did, `former` has that one's id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

__all__ = ["class_of", "id_of", "renamed_in", "saved"]

C = TypeVar("C", bound=type)

# Recordings of version 0.1.0 name the place in the source where each class stood then
_OLD_PLACES = {
    "realtime.audio.blend:Blend": "decoder-blend",
    "realtime.audio.cells:DomainMap": "domain-map",
    "realtime.audio.dsp:DcBlocker": "dc-blocker",
    "realtime.audio.dsp:DelayLine": "delay-line",
    "realtime.audio.dsp:Meter": "meter",
    "realtime.audio.dsp:Ramp": "ramp",
    "realtime.audio.dsp:SoftLimiter": "soft-limiter",
    "realtime.audio.gate:Gate": "gate",
    "realtime.audio.gate:Hush": "output-gate",
    "realtime.audio.gate:_Slide": "gate-gain",
    "realtime.audio.latent:LatentControls": "latent-controls",
    "realtime.audio.latent:Transposer": "transposer",
    "realtime.audio.player:Player": "player",
    "realtime.audio.resample:Resampler": "resampler",
    "realtime.audio.ring:Fifo": "fifo",
    "realtime.audio.room:Room": "decoder-room",
    "realtime.audio.signal_path:Controls": "controls",
    "realtime.audio.signal_path:Latency": "latency",
    "realtime.audio.signal_path:SignalPath": "signal-path",
    "realtime.audio.voices:Voices": "decoder-mixer",
    "realtime.engines.base:Cost": "step-cost",
    "realtime.engines.buffers:StreamBuffers": "stream-buffers",
    "realtime.engines.guided:Emphasis": "emphasis",
    "realtime.engines.guided:Front": "guide-front",
    "realtime.engines.guided:GuidedVoice": "guided-decoder",
    "realtime.engines.live_cpu.engine:BoundPart": "native-part",
    "realtime.engines.live_cpu.engine:LiveCpuEngine": "live-engine",
    "realtime.engines.live_cpu.heard:HeardPart": "two-part-encoder",
    "realtime.engines.onnx:GraphStepper": "onnx-graph",
    "realtime.engines.onnx:OnnxEngine": "onnx-engine",
    "realtime.engines.onnx:_Buffer": "onnx-state",
    "realtime.engines.sampled:_Voice": "wavenet-decoder",
    "realtime.engines.torchscript:TorchScriptEngine": "torchscript-engine",
    "realtime.engines.torchscript:_Stepper": "torchscript-module",
    "realtime.engines.wavenet_cpu.contest:Choice": "loop-choice",
    "realtime.engines.wavenet_cpu.engine:WavenetCpuEngine": "wavenet-engine",
    "realtime.engines.wavenet_cpu.loops:LoopMemory": "loop-memory",
    "realtime.engines.wavenet_cpu.native_loop:NativeLoop": "native-loop",
    "realtime.engines.wavenet_cpu.numba_loop:NumbaLoop": "numba-loop",
    "realtime.engines.wavenet_cpu.numpy_loop:NumpyLoop": "numpy-loop",
    "realtime.engines.wavenet_cpu.weights:Calibration": "calibration",
    "realtime.engines.wavenet_cpu.weights:WavenetWeights": "wavenet-weights",
    "realtime.engines.wavenet_cuda.engine:WavenetCudaEngine": "wavenet-cuda-engine",
    "realtime.engines.wavenet_cuda.loop:CudaLoop": "cuda-loop",
}

_classes: dict[str, type] = {}  # by id, former ones too
_ids: dict[type, str] = {}
_renamed: dict[type, Mapping[str, str]] = {}


def saved(id_: str, *former: str, renamed: Mapping[str, str] | None = None) -> Callable[[C], C]:
    """Give a class its id, for ever. former: ids of classes that it replaces; renamed: old attribute -> new one.

    A subclass needs an id of its own. ValueError: the id is another class's.
    """

    def give(class_: C) -> C:
        for one in (id_, *former):
            if ":" in one:
                raise ValueError(f"{one} looks like a place in the source; an id has no colon")
            if one in _classes:
                raise ValueError(
                    f"{one} is the id of {_classes[one].__name__} already, not of {class_.__name__}"
                )
        _classes.update(dict.fromkeys((id_, *former), class_))
        _ids[class_] = id_
        _renamed[class_] = dict(renamed or {})
        return class_

    return give


def id_of(class_: type) -> str | None:
    """The id under which objects of this class are saved; None: they are not."""
    return _ids.get(class_)


def class_of(named: str) -> type | None:
    """What a state names, by id or, in old ones, by place; None: no class here has that id."""
    return _classes.get(_OLD_PLACES.get(named, named))


def renamed_in(class_: type) -> Mapping[str, str]:
    """Attributes as a state may have them -> as they are called now."""
    return _renamed.get(class_, {})
