"""Stage 3: bundle to report: latency, size and Recall@1 against the PyTorch model."""
