#!/bin/sh
# Creates a folder with arm64 Python, NumPy and engines, for distill-bench --device emulated-arm64:FOLDER.
#
#   sh scripts/arm64-root.sh FOLDER
#
# Debian packages and wheels are unpacked into the folder; nothing is installed on this computer, and root
# rights are not needed. Requires apt-get (Debian 12, for Python 3.11), dpkg-deb and pip; about 200 MB.
set -eu
root=$(mkdir -p "$1" && cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/debs"
: >"$work/status"

# apt-get as on an empty arm64 machine, with its own folders.
apt() {
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::Lists="$work/lists" \
        -o Dir::State::Status="$work/status" -o Dir::Cache="$work/cache" -o APT::Sandbox::User="$(id -un)" "$@"
}
apt update
cd "$work/debs"
apt download libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libffi8 libssl3 libbz2-1.0 liblzma5 libuuid1 \
    python3.11-minimal libpython3.11-minimal libpython3.11-stdlib
for deb in *.deb; do dpkg-deb -x "$deb" "$root"; done

# The emulator, for this computer's architecture, unless it is installed.
if ! command -v qemu-aarch64-static >/dev/null && ! command -v qemu-aarch64 >/dev/null; then
    mkdir "$work/own" && cd "$work/own"
    apt-get -qq -o APT::Sandbox::User="$(id -un)" download qemu-user-static
    dpkg-deb -x qemu-user-static*.deb "$work/own/x"
    cp "$work/own/x/usr/bin/qemu-aarch64-static" "$root/qemu-aarch64-static"
fi

# LiteRT 2.1.0: later wheels crash under qemu 7.2.
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --only-binary=:all: --python-version 3.11 \
    --platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 \
    --implementation cp --no-warn-conflicts --target "$root/site" 'numpy<2.3' 'ai-edge-litert==2.1.0' 'onnxruntime==1.22.*'
echo "ready: distill-bench BUNDLE --device emulated-arm64:$root"
