"""The packages of the wheel; everything else is in pyproject.toml.

The top-level folder ``recipes`` becomes the package ``distill.recipes``, which holds no code. ``packages.find`` of
pyproject.toml cannot express that one package has another name than its folder.
"""

from setuptools import find_packages, setup

ROOMS = ("distill", "export", "gallery", "benchmark")

setup(
    packages=[*find_packages(include=[name for room in ROOMS for name in (room, f"{room}.*")]), "distill.recipes"],
    package_dir={"distill.recipes": "recipes"},
)
