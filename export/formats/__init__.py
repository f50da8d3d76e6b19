"""Targets and converters: one package or module for each model file format."""
