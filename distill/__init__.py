"""Stage 1, from images to a checkpoint. Imports nothing: torch would cost seconds."""
