"""The HTML report: one file, no network, dark and light, readable on a phone."""
