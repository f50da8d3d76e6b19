"""Quantization repair: change the float network so that int8 does less harm.

All of it works on the folded graph (``export.graph.folded``) with calibration images, needs no labels and no
training, and adds no operator. ``methods`` is the table that ``--repair`` reads.
"""
