"""Integers for a folded network: ranges, sensitivity, repair, training with simulated rounding."""
