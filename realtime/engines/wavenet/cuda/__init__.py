"""The WaveNet decoder's sample loop on an NVIDIA GPU. The CUDA kernel has never run on a GPU: it is compiled for
six chips in the tests and run there by an emulation on the CPU.
"""

from realtime.engines.wavenet.cuda.loop import CudaLoop

__all__ = ["CudaLoop"]
