#!/usr/bin/env bash
# Makes a Debian for 64-bit ARM in a folder, with the device's packages, and runs the device in it under an
# emulator: no container, no root needed, nothing is installed on this machine but the tools themselves.
#   scripts/arm.sh FOLDER
# What was made stays in FOLDER, so the second run starts its work at once.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?usage: scripts/arm.sh FOLDER}
python=.venv/bin/python
suite=bookworm # its Python is 3.11, as here
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

missing=()
command -v qemu-aarch64-static >/dev/null || missing+=(qemu-user-static)
command -v debootstrap >/dev/null || [ -x /usr/sbin/debootstrap ] || missing+=(debootstrap)
command -v dpkg-deb >/dev/null || missing+=(dpkg)
if [ ${#missing[@]} -gt 0 ]; then
    if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
        echo "Installing ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    fi
    for tool in qemu-aarch64-static debootstrap dpkg-deb; do
        PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null && continue
        echo "make arm needs $tool: on Debian or Ubuntu, apt install ${missing[*]}" >&2
        exit 2
    done
fi

# Debian's Python for ARM. The packages are only unpacked: nothing of them runs here.
if [ ! -e "$folder/root.done" ]; then
    echo "Fetching Debian's Python for ARM (90 MB)"
    rm -rf "$folder/root" "$folder/packages"
    PATH=$PATH:/usr/sbin debootstrap --arch=arm64 --variant=minbase --include=python3 --download-only \
        "$suite" "$folder/packages" >"$folder/debootstrap.log" 2>&1 ||
        { echo "debootstrap failed; the end of $folder/debootstrap.log:" >&2; tail -5 "$folder/debootstrap.log" >&2; exit 2; }
    mkdir -p "$folder/root"
    for package in "$folder"/packages/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
    rm -rf "$folder/packages"
    touch "$folder/root.done"
fi

# The device's packages for ARM, in the versions that are used here.
wanted=$("$python" - <<'END'
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
print("\n".join(project["dependencies"] + extras["device"] + extras["tflite"]))
END
)
stamp=$(printf '%s\n' "$wanted" | cat - constraints.txt | sha256sum | cut -c1-16)
if [ ! -e "$folder/site.$stamp" ]; then
    echo "Fetching the device's packages for ARM (80 MB)"
    rm -rf "$folder/site" "$folder"/site.*
    printf '%s\n' "$wanted" >"$folder/requirements.txt"
    "$python" -m pip install --quiet --disable-pip-version-check --target "$folder/site" --only-binary=:all: \
        --implementation cp --python-version 3.11 \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
        --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
        -c constraints.txt -r "$folder/requirements.txt"
    touch "$folder/site.$stamp"
fi

exec "$python" -m tests.arm.run "$folder"
