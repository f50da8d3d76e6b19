"""Engines that run model files. These modules also run on boards, which have only Python, NumPy and an engine."""
