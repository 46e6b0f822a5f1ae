"""The device's drivers: runtime, frames, disk and broker. They decide nothing; the core does."""
