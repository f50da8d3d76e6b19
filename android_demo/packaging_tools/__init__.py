"""Helpers of pack.py: APK layout and ELF alignment."""
