"""One package or module for each kind of model file."""
