"""The configuration that `edgeadapt device example-config` prints. A test parses it."""

EXAMPLE = """\
# edgeadapt device. Keys that are left out keep their defaults; unknown keys are errors.
# Any key can be set from the environment, too: EDGEADAPT__MQTT__HOST=broker.local

[device]
name = "camera-1"             # id on the broker: letters, digits, '.', '_', '-'
fleet = "default"
bundle = "bundle"             # folder made by `edgeadapt model compile`
state_dir = "state"           # outbox, running generation, status.json

[mqtt]
enabled = true                # false: adapt alone, upload nothing
host = "127.0.0.1"
port = 1883

[source]
kind = "folder"               # "folder": image files in name order; "stream": a folder with frames.npy
path = "images"
frames_per_second = 30.0      # 0: as fast as possible
loop = false

[probe]
share = 0.5                   # share of frames that measure the norm layers; 0 turns adaptation off

[statistics]
enabled = true                # false: keep the bundle's own statistics

[flagging]
uniform_share = 0.2           # share of uploads drawn at random

[budget]
bytes_per_hour = 4000000
burst_bytes = 1000000

[trust]
keys = []                     # public keys printed by `edgeadapt cloud keygen`; none: no patches

[output]
predictions = "predictions.csv"
"""
