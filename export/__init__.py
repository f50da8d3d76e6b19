"""Stage 2: checkpoint to bundle. ``export.bundle`` reads a bundle without torch or tensorflow."""
