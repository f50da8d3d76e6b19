"""Repairs: change the float network so that int8 keeps its embeddings.

They work on the folded graph (``export.graph.folded``) and its calibration images, need no labels and add no operator.
Equalization (``cle``) and bias correction (``bias``) take seconds; quantization-aware training (``qat``) trains the
network for some minutes. ``methods`` has the table of values for ``--repair``.
"""
