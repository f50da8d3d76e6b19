"""How a network is trained here: configuration, crops, batches, teacher cache, loop."""
