"""What nvcc made of the kernels, read in its machine code."""
