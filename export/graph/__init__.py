"""The student as a list of layers with constants, and the conversion of PyTorch networks into it."""
