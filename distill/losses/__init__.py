"""What a student learns from its teacher, and what either learns from labels.

Naming a method (``parse_method``) needs no torch; computing it (:mod:`distill.losses.build`) does.
"""

from distill.losses.catalogue import METHODS, MethodSpec
from distill.losses.method import Method, Term, parse_method

__all__ = ["METHODS", "Method", "MethodSpec", "Term", "parse_method"]
