"""Int8 quantization of folded networks: arithmetic, ranges, sensitivity and repairs."""
