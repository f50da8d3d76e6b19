#!/bin/sh
# Prints the Python for the environment of make: the one named, that of the environment, or the first usable one on PATH.
#   sh scripts/python.sh VENV [PYTHON]
# Usable: 3.11 to 3.13 (TensorFlow has no wheels past 3.13), with venv and pip. Downloads nothing.
set -u
venv=$1 named=${2:-}
check='import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13): sys.exit("is Python %d.%d" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("has no venv module (Debian: apt-get install python%d.%d-venv)" % sys.version_info[:2])'

fault() { # why this Python cannot be used: one line, empty if it can
    command -v "$1" >/dev/null 2>&1 || { echo "is not there" && return; }
    message=$("$1" -c "$check" 2>&1) && return
    case $message in is\ * | has\ *) echo "$message" ;; *) echo "does not run" ;; esac
}

if [ -n "$named" ]; then
    why=$(fault "$named")
    [ -z "$why" ] && echo "$named" && exit
    echo "make: PYTHON=$named $why: name a Python 3.11, 3.12 or 3.13, for example make demo PYTHON=python3.13" >&2
    exit 1
fi

found=
for python in "$venv/bin/python" python3 python3.13 python3.12 python3.11; do
    why=$(fault "$python")
    [ -z "$why" ] && echo "$python" && exit
    [ "$why" = "is not there" ] || [ "$why" = "does not run" ] || found="$found, $python $why"
done
echo "make: no Python 3.11, 3.12 or 3.13 here${found:+ (${found#, })}: install one, for example apt-get install python3-venv or brew install python@3.13, or make demo PYTHON=/path/to/python3.13" >&2
exit 1
