"""The WaveNet decoder's sample loop on the CPU: native kernels, numba where there is no compiler, numpy to test.

Threading model: a decoder belongs to the one thread that makes the audio; `run` and `decode` let go of the
interpreter's lock and allocate nothing.
"""

from realtime.engines.wavenet_cpu.loops import SampleLoop, make_loop
from realtime.engines.wavenet_cpu.weights import Calibration, WavenetWeights

__all__ = ["Calibration", "SampleLoop", "WavenetWeights", "make_loop"]
