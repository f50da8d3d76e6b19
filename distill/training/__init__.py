"""Training: configuration, crops, batches, teachers, and the loop."""
