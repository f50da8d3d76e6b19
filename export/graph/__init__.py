"""The student as plain constants: layers, and how a PyTorch network becomes them."""
