"""The convolution kernels in anybody's weights files: a path in, arrays out. No code of a file is ever run."""
