"""What the kernels in C++ share: how they are compiled, and their vector instructions (`simd`)."""
