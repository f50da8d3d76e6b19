"""Images that an export reads: calibration, check and golden images."""
