"""A `live` model on the CPU in one call per block: encoder and decoders as native code, without ONNX Runtime.

Threading model: see `Engine`; a call lets go of the interpreter's lock and allocates nothing.
"""
