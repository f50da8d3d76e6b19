"""The packages of the wheel; everything else is in pyproject.toml.

The top-level folder ``recipes`` becomes the package ``distill.recipes``, which holds no code. ``packages.find`` of
pyproject.toml cannot express that one package has another name than its folder.
"""

import shutil

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOMS = ("distill", "export", "gallery", "benchmark")


class FreshBuild(build_py):
    """Packs what is there now. setuptools would also pack modules that an earlier build left in build/lib."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(
    cmdclass={"build_py": FreshBuild},
    packages=[*find_packages(include=[name for room in ROOMS for name in (room, f"{room}.*")]), "distill.recipes"],
    package_dir={"distill.recipes": "recipes"},
)
