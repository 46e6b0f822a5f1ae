"""One example of every message, with every optional field set: for the documents and the golden files.

Values are plausible and fixed for ever: the golden files hold the very bytes they give.
"""

from __future__ import annotations

import msgspec

from edgeadapt.digest import sha256_hex
from edgeadapt.wire.messages import (
    Ack,
    AnyMessage,
    Assign,
    Command,
    DescriptorItem,
    Descriptors,
    LedgerLine,
    Metric,
    Outcome,
    Reply,
    Sample,
    ServerStatus,
    SignatureReport,
    Status,
    TrialCheck,
    VerdictCounts,
    Want,
)

_BUNDLE = sha256_hex(b"bundle")
_PATCH = sha256_hex(b"patch")
_OUTBOX = "6b1f0c2e9d774a35"
# A PNG of one grey pixel.
_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)

EXAMPLES: tuple[AnyMessage, ...] = (
    Status(epoch=7, online=True, bundle=_BUNDLE, generation=_PATCH[:12], speaks=(1, 2)),
    Sample(
        outbox=_OUTBOX,
        sequence=1042,
        segment=3,
        lane="audit",
        codec="png",
        height=1,
        width=1,
        channels=1,
        data=_PIXEL,
        sha256=sha256_hex(_PIXEL),
        entropy=0.75,
        predicted=4,
        generation=_PATCH[:12],
        captured_s=1_800_000_000.5,
        verdict="shifted",
        p_value=0.0625,
        chance=0.25,
        cluster=2,
        descriptor=bytes.fromhex("003c00c0"),
        altered=True,
    ),
    Descriptors(
        outbox=_OUTBOX,
        sequence=1043,
        bundle=_BUNDLE,
        segment=3,
        generation=_PATCH[:12],
        items=(
            DescriptorItem(
                sample=1041,
                lane="ask",
                verdict="unknown",
                predicted=4,
                entropy=1.5,
                p_value=0.001953125,
                size_bytes=9216,
                members=12,
                vector=bytes(range(64)),
            ),
        ),
    ),
    SignatureReport(
        outbox=_OUTBOX,
        sequence=1044,
        bundle=_BUNDLE,
        segment=3,
        frames=256,
        vector=bytes.fromhex("0000803f000000c0"),
        mean=bytes.fromhex("0000003f"),
        var=bytes.fromhex("0000803f"),
        drift=0.875,
    ),
    Metric(
        epoch=7,
        frames=18_000,
        flagged=120,
        uploaded=118,
        bytes_up=1_048_576,
        bytes_down=65_536,
        budget_left_bytes=-512,
        latency_ms=2.5,
        generation=_PATCH[:12],
        ledger=(LedgerLine(purpose="adapt", bytes_up=524_288, bytes_down=0, messages=96),),
        verdicts=VerdictCounts(familiar=17_000, informative=600, shifted=300, unknown=80, unreliable=20),
    ),
    Outcome(
        outbox=_OUTBOX,
        sequence=1045,
        cohort="c2",
        serial=5,
        patch=_PATCH,
        state="reverted",
        reason="entropy rose",
        frames=240,
        entropy_old=0.5,
        entropy_new=0.75,
        agreement=0.875,
        evidence=(
            TrialCheck(check="entropy", value=0.25, bound=0.125, e_harm=32.0, e_safe=0.03125, frames=240),
        ),
    ),
    Reply(id="9f2c4e7710aa53b1", done=True, reason="obeyed", detail="the base was running already"),
    Ack(outbox=_OUTBOX, sequences=(1042, 1043, 1044)),
    Assign(
        cohort="c2",
        segment=3,
        channel="canary",
        bundle=_BUNDLE,
        budget_bytes_per_hour=2_000_000,
        budget_bytes_per_day=20_000_000,
    ),
    Command(id="9f2c4e7710aa53b1", action="rollback"),
    Want(outbox=_OUTBOX, wanted=(1041,), declined=(1039, 1040)),
    ServerStatus(epoch=12, online=True, speaks=(1, 2)),
)


def smallest(message: AnyMessage) -> AnyMessage:
    """The same message with its required fields only."""
    defaults = {
        field.name: field.default
        for field in msgspec.structs.fields(message)
        if field.default is not msgspec.NODEFAULT
    }
    return msgspec.structs.replace(message, **defaults)
