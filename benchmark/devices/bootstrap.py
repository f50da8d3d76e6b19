"""The first script that runs on a remote device, sent to its Python's stdin. Standard library only.

    python3 - probe|settle|drop|clean FOLDER [NAME...]

``probe``: what this Python is and has; makes the folder. ``settle``: files that arrived in
``incoming`` under the SHA-256 of their content move to ``files`` where that is true, and are
deleted where it is not. ``drop``: delete these of ``files``. ``clean``: delete all that was sent
and made, and the folder if nothing else lies in it.
Each prints one line, MARK and JSON, so that what a login shell prints in between does no harm.
Kept to what even old Pythons run, since it is what says that one is too old.
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
    """SHA-256 of a file as hex digits."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(2**20), b""):
            found.update(piece)
    return found.hexdigest()


def probe(folder):
    """Version, packages; the folder is made."""
    from importlib.util import find_spec

    for part in PARTS:
        if not os.path.isdir(os.path.join(folder, part)):
            os.makedirs(os.path.join(folder, part), 0o700)
    packages = []
    for name in ("numpy", "ai_edge_litert", "onnxruntime"):
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
    """What lies in ``files`` and ``results`` (with its SHA-256), and what of ``incoming`` was damaged."""
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
    """Run one command; errors of the system become an answer too."""
    command, folder, names = arguments[0], arguments[1], arguments[2:]
    try:
        if command == "probe":
            answer = probe(folder)
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
