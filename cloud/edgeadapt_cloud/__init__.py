"""The adaptation service: takes in what devices send, adapts per cohort, rolls patches out in phases.

config.py     everything that can be set
core/         every decision, without I/O: ingest, cohorts, jobs, rollout
io/           SQLite store, folder of blobs, MQTT, keys, image decoding
performer.py  carries the core's effects out, one transaction at a time
service.py    the daemon;  local.py  the same service inline, for simulators and tests
adapt/        teacher, strategies and gate: the only rooms with torch
"""
