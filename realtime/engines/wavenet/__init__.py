"""The WaveNet decoder's sample loop on the CPU: native kernels, numba where there is no compiler, numpy to test.

Threading model: a decoder belongs to the one thread that makes the audio; `run` and `decode` let go of the
interpreter's lock and allocate nothing.
"""

from realtime.engines.wavenet.autotune import make_loop
from realtime.engines.wavenet.sample_loop import SampleLoop
from realtime.engines.wavenet.weights import Calibration, WavenetWeights

__all__ = ["Calibration", "SampleLoop", "WavenetWeights", "make_loop"]
