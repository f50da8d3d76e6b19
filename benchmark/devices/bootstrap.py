"""The first script that runs on a remote device, sent to its Python's stdin. Standard library only.

    python3 - probe|settle|drop|clean FOLDER [NAME...]

``probe``: report the version of this Python and which of the modules NAME it has, and make the folder. ``settle``: move files
from ``incoming`` to ``files`` if their name is the SHA-256 of their content, else delete them.
``drop``: delete these of ``files``. ``clean``: delete everything that was sent or made, and the folder
if it is then empty.
Each prints one line, MARK and JSON, which survives whatever a login shell prints around it.
Written for old Pythons too, since it is what reports that one is too old.
"""

import hashlib
import json
import os
import shutil
import sys

__all__ = ["MARK", "main"]

MARK = "@distill-bench "
PARTS = ("incoming", "files", "results")


def digest(path):
    """Return the SHA-256 of a file as hex digits."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(2**20), b""):
            found.update(piece)
    return found.hexdigest()


def probe(folder, names):
    """Return the version, and which modules of ``names`` there are; make the folder."""
    from importlib.util import find_spec

    for part in PARTS:
        if not os.path.isdir(os.path.join(folder, part)):
            os.makedirs(os.path.join(folder, part), 0o700)
    packages = []
    for name in names:
        try:
            if find_spec(name):
                packages.append(name)
        except (ImportError, ValueError):
            pass
    return {
        "python": list(sys.version_info[:3]),
        "executable": sys.executable,
        "packages": packages,
        "uid": os.getuid(),
    }


def settle(folder):
    """Return the names in ``files``, the results with their SHA-256, and the damaged ones of ``incoming``."""
    incoming, files, results = (os.path.join(folder, part) for part in PARTS)
    damaged = []
    for name in os.listdir(incoming):
        path = os.path.join(incoming, name)
        if digest(path) == name:
            os.replace(path, os.path.join(files, name))
        else:
            os.remove(path)
            damaged.append(name)
    return {
        "damaged": damaged,
        "files": os.listdir(files),
        "results": {name: digest(os.path.join(results, name)) for name in os.listdir(results) if name[0] != "."},
        "free_bytes": shutil.disk_usage(folder).free,
    }


def main(arguments):
    """Run one command; system errors are answers too."""
    command, folder, names = arguments[0], arguments[1], arguments[2:]
    try:
        if command == "probe":
            answer = probe(folder, names)
        elif command == "settle":
            answer = settle(folder)
        elif command == "drop":
            for name in names:
                path = os.path.join(folder, "files", os.path.basename(name))
                if os.path.exists(path):
                    os.remove(path)
            answer = {}
        elif command == "clean":
            for part in PARTS:
                shutil.rmtree(os.path.join(folder, part), ignore_errors=True)
            if os.path.exists(os.path.join(folder, "lock")):
                os.remove(os.path.join(folder, "lock"))
            if not os.listdir(folder):
                os.rmdir(folder)
            answer = {}
        else:
            answer = {"error": "unknown command " + command}
    except OSError as error:
        answer = {"error": "%s: %s" % (error.filename or folder, error.strerror or error)}
    print(MARK + json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
