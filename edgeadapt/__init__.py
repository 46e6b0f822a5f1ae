"""edgeadapt: what the device and the cloud agree on.

Start reading at `bundle` (what a device installs), `patch` (what changes it) and `wire` (what is said).
This package is pure: no torch, no sockets, no threads, no clock. The daemon is `edgeadapt_device`, the
service `edgeadapt_cloud`, models and data `edgeadapt_models`, the demo and benchmarks `edgeadapt_sim`.
"""

__version__ = "0.1.0"
