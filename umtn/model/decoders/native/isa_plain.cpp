// Other CPUs train by PyTorch's own products: this unit only makes the library build everywhere.
