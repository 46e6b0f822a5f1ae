"""The daemon as a service: what a service manager, a monitor and an operator see of it, and can ask of it."""
