"""Stage 1: images to checkpoint. Nothing here is imported eagerly: torch costs seconds."""

__version__ = "0.1.0"
