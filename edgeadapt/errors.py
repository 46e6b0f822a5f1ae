"""The one error tree, split by who must act.

    EdgeAdaptError
    |- ConfigError        the person at the keyboard: a file, a key, a model or a folder is not as needed
    |  `- CompileError    a model that cannot become a bundle; says what was found in it
    |- BundleError        whoever installed the bundle: a file is missing, edited or truncated
    |- WireError          nobody: the message is counted and quarantined, the program goes on
    |- TrustError         whoever published the patch; carries a `Refusal` that is reported upward
    `- TransportError     the network, the broker or the disk: try again

A gate that says no is not an error: verdicts are values.
"""

from __future__ import annotations

from enum import Enum


class EdgeAdaptError(Exception):
    """Base of every error that edgeadapt raises on purpose."""


class ConfigError(EdgeAdaptError):
    """Something a person wrote or chose is wrong; the message names it and the fix."""


class CompileError(ConfigError):
    """A model cannot be compiled to a bundle; the message says what was found in it."""


class BundleError(EdgeAdaptError):
    """A bundle's files are missing, changed or do not fit together; the message names the file."""


class WireError(EdgeAdaptError):
    """A message is not one of ours: malformed, truncated, too large, or of another version."""


class TransportError(EdgeAdaptError):
    """A network, broker or storage operation failed and may be tried again."""


class Refusal(str, Enum):
    """Why a device refuses a patch. The value is what is reported upward."""

    MALFORMED = "malformed"
    TOO_LARGE = "too-large"
    UNKNOWN_KEY = "unknown-key"
    BAD_SIGNATURE = "bad-signature"
    WRONG_BUNDLE = "wrong-bundle"
    WRONG_COHORT = "wrong-cohort"
    OLD_SERIAL = "old-serial"
    EXPIRED = "expired"
    UNKNOWN_SLOT = "unknown-slot"
    WRONG_SHAPE = "wrong-shape"
    WRONG_DTYPE = "wrong-dtype"
    NOT_FINITE = "not-finite"
    OUT_OF_BOUNDS = "out-of-bounds"
    #: The device runs an int8 model whose integers cannot take the values.
    BEYOND_INT8 = "beyond-int8"


class TrustError(EdgeAdaptError):
    """A patch is refused. `refusal` is the machine-readable reason."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(f"{refusal.value}: {detail}")
        self.refusal = refusal
        self.detail = detail
