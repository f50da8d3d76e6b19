"""Losses: what a student learns from its teacher, and what either network learns from labels.

Importing this package, and listing :data:`LOSSES` by name, needs no torch. Reading the spec of a loss,
as :func:`parse_method` does, imports the file that defines it.
"""

from distill.losses.method import Method, Term, parse_method
from distill.losses.registry import LOSSES
from distill.losses.spec import LossContext, LossSpec

__all__ = ["LOSSES", "LossContext", "LossSpec", "Method", "Term", "parse_method"]
