"""The device: runs the model at full speed, keeps it in tune, asks the cloud for help within a budget.

Start reading at `core.core` (what the device decides; no I/O), `local` (the same core performed inline,
for simulators and tests) and `daemon` (the real process). Nothing here imports torch.
"""
