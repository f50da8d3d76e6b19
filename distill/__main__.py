"""``python -m distill``: the same as ``distill-train``."""

from distill.cli import main

main()
