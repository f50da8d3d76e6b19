"""Run ``distill-train`` as ``python -m distill``."""

from distill.cli import main

main()
