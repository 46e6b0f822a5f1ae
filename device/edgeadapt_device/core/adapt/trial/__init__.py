"""A new patch on trial: the states it goes through (`trial`) and what is held against it (`evidence`)."""

from edgeadapt_device.core.adapt.trial.evidence import Evidence, Seen
from edgeadapt_device.core.adapt.trial.trial import TABLE, Candidate, Trial, TrialEvent, TrialState

__all__ = ["TABLE", "Candidate", "Evidence", "Seen", "Trial", "TrialEvent", "TrialState"]
