"""What every field of every message means, in words: for the documents. A test holds that none is missing."""

from __future__ import annotations

_OUTBOX = "random id of the device's outbox file; 1 to 128 characters"
_SEQUENCE = "rises by one with each message of the outbox and is never used twice"
_GENERATION = 'what scored: the first 12 hex digits of the patch\'s digest, or "base"'
_BUNDLE = "SHA-256 (hex) of the bundle's manifest"
_SEGMENT = "number of the stretch of one domain, from 0"
_SPEAKS = "lowest and highest protocol version that the sender can speak"

FIELDS: dict[str, dict[str, str]] = {
    "Status": {
        "epoch": "rises with each start of the device; a death of an older epoch means nothing",
        "online": "true: birth; false: death or goodbye",
        "bundle": _BUNDLE,
        "generation": _GENERATION + "; empty in a death",
        "speaks": _SPEAKS,
    },
    "ServerStatus": {
        "epoch": "rises with each start of the service",
        "online": "true: birth; false: death or goodbye",
        "speaks": _SPEAKS,
    },
    "Sample": {
        "outbox": _OUTBOX,
        "sequence": _SEQUENCE,
        "segment": _SEGMENT,
        "lane": '"adapt" to learn from, "ask" a person, "audit" drawn at random',
        "codec": 'form of `data`; "none": empty',
        "height": "of the frame in `data`, pixels",
        "width": "of the frame in `data`, pixels",
        "channels": "of the frame in `data`",
        "data": "the frame",
        "sha256": "SHA-256 (hex) of `data`",
        "entropy": "of the prediction, nats",
        "predicted": "class with the highest probability",
        "generation": _GENERATION,
        "captured_s": "the device's wall clock, seconds since 1970",
        "verdict": "what the device took the frame for",
        "p_value": "how usual such a frame is among known ones, 0 to 1",
        "chance": 'probability with which an "audit" frame was drawn; 0 in other lanes',
        "cluster": "quarantine cluster that the frame stands for, or 0",
        "descriptor": "embedding [D], little-endian float16, or empty",
        "altered": "whether the frame was changed for privacy: not what the model saw, whatever the codec",
    },
    "Descriptors": {
        "outbox": _OUTBOX,
        "sequence": _SEQUENCE,
        "bundle": _BUNDLE,
        "segment": _SEGMENT,
        "generation": _GENERATION,
        "items": "the samples that wait",
    },
    "DescriptorItem": {
        "sample": "sequence of the sample in the same outbox",
        "lane": "as in Sample",
        "verdict": "as in Sample",
        "predicted": "as in Sample",
        "entropy": "as in Sample",
        "p_value": "as in Sample",
        "size_bytes": "what the sample would cost to send",
        "members": "how many frames it stands for",
        "vector": "embedding, projected, normalised and quantised: one signed byte a dimension",
    },
    "SignatureReport": {
        "outbox": _OUTBOX,
        "sequence": _SEQUENCE,
        "bundle": _BUNDLE,
        "segment": _SEGMENT,
        "frames": "how many frames stand behind the numbers, from 1",
        "vector": "domain signature [S], little-endian float32",
        "mean": "means of all norm layers' inputs [P], little-endian float32",
        "var": "their variances [P], little-endian float32, none negative",
        "drift": "distance from the source, in source standard deviations",
    },
    "Metric": {
        "epoch": "as in Status",
        "frames": "scored since start",
        "flagged": "chosen for upload",
        "uploaded": "samples that were acknowledged",
        "bytes_up": "payloads sent",
        "bytes_down": "topics and payloads received",
        "budget_left_bytes": "what the uplink may spend now; negative: overdrawn",
        "latency_ms": "of the model, smoothed",
        "generation": _GENERATION,
        "ledger": "bytes by purpose",
        "verdicts": "frames by verdict",
    },
    "LedgerLine": {
        "purpose": '"adapt", "ask", "audit", "descriptor", "report", "control" or "patch"',
        "bytes_up": "sent, protocol overhead included",
        "bytes_down": "received, protocol overhead included",
        "messages": "how many",
    },
    "VerdictCounts": {
        "familiar": "frames like the source's",
        "informative": "frames worth learning from",
        "shifted": "frames of a known class in another domain",
        "unknown": "frames of no known class",
        "unreliable": "frames that cannot be judged",
    },
    "Outcome": {
        "outbox": _OUTBOX,
        "sequence": _SEQUENCE,
        "cohort": "cohort of the patch",
        "serial": "its serial; 0 when it could not be read",
        "patch": "SHA-256 (hex) of its envelope",
        "state": "what became of it",
        "reason": 'why, in words; a refusal begins with its reason, as "bad-signature"',
        "frames": "scored by both generations",
        "entropy_old": "mean over them under the old one, nats",
        "entropy_new": "mean over them under the new one, nats",
        "agreement": "share of them on which both agree, 0 to 1",
        "evidence": "the trial's checks",
    },
    "TrialCheck": {
        "check": "its name",
        "value": "mean of what it looks at",
        "bound": "what the mean is held against",
        "e_harm": 'e-value against "the mean is at most the bound"',
        "e_safe": 'e-value against "the mean is at least the bound"',
        "frames": "values in the mean",
    },
    "Reply": {
        "id": "of the command, at most 128 characters",
        "done": "the order was carried out",
        "reason": '"obeyed-before": by an earlier copy of it',
        "detail": "in words",
    },
    "Ack": {"outbox": _OUTBOX, "sequences": "what is committed"},
    "Assign": {
        "cohort": "becomes part of the patch topic",
        "segment": _SEGMENT,
        "channel": 'on "canary" the device hears both channels',
        "bundle": _BUNDLE,
        "budget_bytes_per_hour": "in place of the device's own; null: no change",
        "budget_bytes_per_day": "likewise",
    },
    "Command": {
        "id": "a new one for every order; copies have the same",
        "action": '"rollback" to the base, "report" a signature',
    },
    "Want": {
        "outbox": _OUTBOX,
        "wanted": "sequences to send",
        "declined": "sequences to forget, never to be sent",
    },
}
#: In every message.
PROTOCOL = "version of the protocol that the message is written in"
