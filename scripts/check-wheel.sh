#!/usr/bin/env bash
# Builds the wheel, installs it with the extra [device] alone into an empty virtual environment, and runs the
# daemon there on a folder of images: no torch anywhere, under 250 MB, healthy, one prediction a frame.
# The commands between "as in device/Dockerfile" are those of the image.
#
#   scripts/check-wheel.sh [FOLDER]     default: out/wheel; it is made anew
#
# PYTHON: makes the environment, and has edgeadapt with the extra [cloud], to compile a bundle of random weights.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
OUT=${1:-out/wheel}
MAX_MB=250
FRAMES=20

say() { printf '%s\n' "$*"; }
fail() { printf 'check-wheel: %s\n' "$*" >&2; exit 1; }

rm -rf "$OUT"
mkdir -p "$OUT/wheels"
OUT=$(cd "$OUT" && pwd)
PYTHON=$(command -v "$PYTHON")
case $PYTHON in /*) ;; *) PYTHON=$PWD/$PYTHON ;; esac

# as in device/Dockerfile
"$PYTHON" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$OUT/wheels" .
wheel=$(ls "$OUT"/wheels/*.whl)
"$PYTHON" -m venv "$OUT/venv"
bin="$OUT/venv/bin"
empty_mb=$(du -sm "$OUT/venv" | cut -f1)
"$bin/pip" install --quiet --disable-pip-version-check -c constraints.txt "${wheel}[device]"
# until here

size_mb=$(( $(du -sm "$OUT/venv" | cut -f1) - empty_mb ))
say "wheel: $(basename "$wheel"), $(du -m "$wheel" | cut -f1) MB; installed with [device]: $size_mb MB"
[ "$size_mb" -lt "$MAX_MB" ] || fail "the installation takes $size_mb MB, more than $MAX_MB"
for package in torch onnx scipy cv2 rich; do
    if "$bin/python" -c "import $package" 2>/dev/null; then fail "$package was installed"; fi
done

say "making a bundle and $FRAMES images"
(cd "$OUT" && "$PYTHON" - "$FRAMES" <<'PY'
import sys
from pathlib import Path
from PIL import Image
from edgeadapt_models.compile import tiny_bundle
from edgeadapt_models.compile.tiny import tiny_images

tiny_bundle(Path("bundle"))
Path("images").mkdir()
images, _ = tiny_images(int(sys.argv[1]), 3)
for number, image in enumerate(images):
    Image.fromarray(image[:, :, 0]).save(f"images/{number:04}.png")
PY
)

# The image's health check, as it is in device/Dockerfile.
health=$(sed -n 's/^ *CMD \["python", "-c", "\(.*\)"\]$/\1/p' device/Dockerfile)
[ -n "$health" ] || fail "device/Dockerfile has no health check"

cd "$OUT"
"$bin/edgeadapt" device example-config > example.toml
cat > device.toml <<'TOML'
[device]
name = "wheel-check"
bundle = "bundle"
[mqtt]
enabled = false
[source]
kind = "folder"
path = "images"
frames_per_second = 20.0
loop = true
[output]
predictions = "predictions.csv"
status_every_s = 0.2
[http]
port = 0
TOML
"$bin/edgeadapt" device config show --changed
"$bin/edgeadapt" device doctor
started=$(date +%s%N)
"$bin/edgeadapt" device run > run.log 2>&1 &
daemon=$!
trap 'kill "$daemon" 2>/dev/null || true' EXIT
until [ "$(wc -l 2>/dev/null < predictions.csv || echo 0)" -ge 2 ]; do
    kill -0 "$daemon" 2>/dev/null || { cat run.log; fail "the daemon ended before its first prediction"; }
    sleep 0.02
done
say "first prediction $(( ($(date +%s%N) - started) / 1000000 )) ms after the start of the process"
sleep 0.5
"$bin/edgeadapt" device status
address=$("$bin/edgeadapt" device status --json | "$bin/python" -c 'import json, sys; print(json.load(sys.stdin)["http"])')
EDGEADAPT__HTTP__PORT=${address##*:} "$bin/python" -c "$health"
"$bin/python" - "$address" <<'PY'
import sys
import urllib.request

for page in ("healthz", "metrics"):
    with urllib.request.urlopen(f"http://{sys.argv[1]}/{page}", timeout=5) as answer:
        body = answer.read().decode()
        assert answer.status == 200, body
        assert page == "healthz" or "edgeadapt_device_frames_total" in body
print("healthy, and counted:", body.count("# TYPE"), "metrics")
PY
until [ "$(wc -l < predictions.csv)" -gt "$FRAMES" ]; do
    kill -0 "$daemon" 2>/dev/null || { cat run.log; fail "the daemon ended by itself"; }
    sleep 0.1
done
kill -TERM "$daemon"
wait "$daemon" || { cat run.log; fail "the daemon did not end well"; }
trap - EXIT
lines=$(( $(wc -l < predictions.csv) - 1 ))
last=$(( $(tail -n 1 predictions.csv | cut -d, -f1) + 1 ))
[ "$lines" -eq "$last" ] || { cat run.log; fail "$lines predictions of $last frames"; }
if "$bin/edgeadapt" cloud status 2> cloud.log; then fail "the cloud needs more than [device]"; fi
grep -q "pip install" cloud.log || fail "a missing extra is not explained: $(cat cloud.log)"
say "check-wheel: all is well ($lines predictions)"
