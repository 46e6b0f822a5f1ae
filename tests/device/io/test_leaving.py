"""What leaves: every privacy switch, seen in the bytes of a real outbox; every encoding within its price."""

from __future__ import annotations

import dataclasses
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from edgeadapt.bundle import Bundle
from edgeadapt.errors import ConfigError
from edgeadapt.wire import Descriptors, Sample, SignatureReport, decode, encode
from edgeadapt_device.agent import Agent
from edgeadapt_device.config import BudgetSection, FlaggingSection, PrivacySection, suppressed_classes
from edgeadapt_device.core.effects import StoreSample
from edgeadapt_device.core.events import Image
from edgeadapt_device.io.leaving import ROW_BYTES, Encoder, TooDear, Withheld, redact
from edgeadapt_device.io.outbox import MemoryOutbox
from edgeadapt_device.io.outbox.read import read_rows
from edgeadapt_device.io.png import png
from tests.device import rig
from tests.device.rig import Rig

ALL = FlaggingSection(
    policy="entropy-band", entropy_low=0.0, entropy_high=1.0, redundancy_margin=1.0, min_drift=0.0
)


def smooth(height: int, width: int, channels: int = 3, seed: int = 0) -> Image:
    """A picture with shapes and a little noise, as a camera's."""
    row, column = np.mgrid[:height, :width]
    waves = [120 + 60 * np.sin(row / 9 + k) + 50 * np.cos(column / (7 + k)) for k in range(channels)]
    noise = np.random.default_rng(seed).normal(0.0, 4.0, (height, width, channels))
    return np.clip(np.stack(waves, axis=2) + noise, 0, 255).astype(np.uint8)


def effect(image: Image, price_bytes: int = 1 << 20, byte_price: float = 0.0, **more: Any) -> StoreSample:
    """A frame that was chosen."""
    fields: dict[str, Any] = {
        "segment": 0,
        "lane": "adapt",
        "entropy": 0.5,
        "predicted": 1,
        "generation": "base",
        "captured_s": 0.0,
        "descriptor": np.linspace(0.0, 1.0, 8, dtype=np.float32),
    }
    return StoreSample(image=image, price_bytes=price_bytes, byte_price=byte_price, **{**fields, **more})


def pixels(sample: Sample) -> Image:
    """What is in a sample, decoded by a library."""
    with PillowImage.open(BytesIO(sample.data)) as picture:
        array: Image = np.asarray(picture).reshape(sample.height, sample.width, sample.channels)
        return array


def lives(bundle: Bundle, privacy: PrivacySection, frames: int = 60) -> tuple[Rig, list[bytes]]:
    """A device that uploads all it may, and everything that it put into its outbox or on the wire."""
    outbox = MemoryOutbox()
    config = rig.config(flagging=ALL, privacy=privacy, budget=BudgetSection(bytes_per_hour=1 << 30))
    device = Rig(bundle, config, outbox=outbox)
    wire: list[bytes] = []
    for image in rig.frames(frames, level=0.5):
        device.wait(0.1)
        device.device.step(image, device.now)
        wire += [payload for _, payload, _ in device.device.outgoing()]
    # Nothing was acknowledged, so all that it ever chose is still there.
    rows = [outbox.payload(row.sequence) for row in outbox.pending()]
    return device, [*wire, *(row[1] for row in rows if row is not None)]


def test_by_default_pictures_leave_and_are_those_that_the_device_saw(tiny: Bundle) -> None:
    _, wire = lives(tiny, PrivacySection())
    seen = {image.tobytes() for image in rig.frames(60, level=0.5)}
    samples = [m for m in map(decode, wire) if isinstance(m, Sample)]
    assert samples
    assert all(s.codec == "png" and pixels(s).tobytes() in seen for s in samples)


def test_statistics_mode_lets_nothing_about_a_frame_out(tiny: Bundle) -> None:
    device, wire = lives(tiny, PrivacySection(mode="statistics"))
    device.down("command", rig_report())
    device.sync()
    messages = [*map(decode, wire), *device.received]
    assert any(isinstance(m, SignatureReport) for m in messages), "statistics do leave"
    assert not any(isinstance(m, (Sample, Descriptors)) for m in messages)
    for image in rig.frames(60, level=0.5):
        for payload in wire:
            assert png(image)[41:80] not in payload
            assert image.tobytes()[300:400] not in payload


def rig_report() -> Any:
    """An order that makes a device report."""
    from edgeadapt.wire import Command

    return Command(id="1", action="report")


def test_embedding_mode_lets_embeddings_out_and_no_picture(tiny: Bundle) -> None:
    _, wire = lives(tiny, PrivacySection(mode="embedding"))
    samples = [m for m in map(decode, wire) if isinstance(m, Sample)]
    assert samples
    for sample in samples:
        assert (sample.codec, sample.data) == ("none", b"")
        assert np.isfinite(np.frombuffer(sample.descriptor, "<f2")).all()
        assert len(sample.descriptor) > 8
    for image in rig.frames(60, level=0.5):
        assert not any(png(image)[41:80] in payload for payload in wire)


def test_suppressed_classes_never_leave_in_any_lane(tiny: Bundle) -> None:
    _, wire = lives(tiny, PrivacySection())
    before = {m.predicted for m in map(decode, wire) if isinstance(m, Sample)}
    name = tiny.manifest.classes[min(before)]
    _, wire = lives(tiny, PrivacySection(suppressed=(name,)))
    after = {m.predicted for m in map(decode, wire) if isinstance(m, Sample)}
    assert after == before - {min(before)}
    with pytest.raises(ConfigError, match="no class of this model"):
        suppressed_classes(PrivacySection(suppressed=("unicorn",)), tiny.manifest.classes)


@pytest.mark.parametrize("mode", ["statistics", "embedding"])
def test_the_door_holds_whoever_knocks_and_rows_from_before_the_switch_do_not_leave(
    tiny: Bundle, mode: Any
) -> None:
    outbox = MemoryOutbox()
    config = rig.config(flagging=ALL)
    first = Rig(tiny, config, outbox=outbox)
    first.device.disconnected(first.now)
    for image in rig.frames(20, level=0.5):
        first.device.step(image, first.now)
    rows = [row for row in outbox.pending() if row.kind == "sample" and not row.held]
    assert rows
    strict = msgspec.structs.replace(config, privacy=PrivacySection(mode=mode))
    second = Rig(tiny, strict, outbox=outbox, start_mono_s=100.0)
    second.sync()
    assert not any(isinstance(m, Sample) and m.data for m in second.received)
    assert not any(outbox.payload(row.sequence) for row in rows), "they are gone"
    # A part of the device that ignored the switch would be stopped at the door.
    performer = second.device._performer
    sample = Encoder(PrivacySection()).sample(effect(rig.frames(1)[0]))
    before = len(outbox)
    performer._keep(sample, 0)
    assert len(outbox) == before
    assert performer.withheld > 0


def test_blurred_parts_hold_no_detail_and_the_rest_is_untouched() -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    encoder = Encoder(PrivacySection(blurred=((0.25, 0.5, 0.75, 1.0),)))
    seen = pixels(encoder.sample(effect(image)))
    part = seen[32:64, 16:48].reshape(-1, 3)
    assert len(np.unique(part, axis=0)) <= 4
    assert (seen[:32] == image[:32]).all()
    assert (seen[32:, :16] == image[32:, :16]).all()
    assert image[40:50, 20:30].std() > 30, "the device's own frame is as it was"


@pytest.mark.parametrize("pixels_wide", [1, 2, 3, 5])
def test_a_small_blurred_part_shows_none_of_its_pixels(pixels_wide: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    end = (32 + pixels_wide) / 64
    seen = pixels(Encoder(PrivacySection(blurred=((0.5, 0.5, end, end),))).sample(effect(image)))
    part = seen[32 : 32 + pixels_wide, 32 : 32 + pixels_wide].reshape(-1, 3)
    assert len(np.unique(part, axis=0)) == 1


def test_pictures_from_before_a_part_was_blurred_are_deleted_and_others_stay(
    tiny: Bundle, tmp_path: Path
) -> None:
    blurred: dict[str, Any] = {"blurred": [[0.0, 0.0, 0.5, 0.5]]}

    def runs(privacy: dict[str, Any], frames: int) -> list[int]:
        with Agent(
            tiny,
            device={"state_dir": str(tmp_path), "name": "porch"},
            mqtt={"enabled": True, "host": "127.0.0.1", "port": 9},
            flagging={"audit_chance": 1.0},
            privacy=privacy,
        ) as agent:
            if frames:
                agent.infer(rig.frames(frames))
        rows = read_rows(tmp_path / "outbox.sqlite", 0.0)
        return [row.sequence for row in rows if row.kind == "sample"]

    before = runs({}, 20)
    assert before
    assert not set(before) & set(runs(blurred, 0)), "as they were, they must not leave"
    kept = runs(blurred, 20)
    assert kept
    assert set(kept) <= set(runs(blurred, 0)), "they were stored under these very rules"


def test_max_side_makes_pictures_smaller_and_keeps_their_proportions() -> None:
    image = smooth(60, 120)
    sample = Encoder(PrivacySection(max_side=40)).sample(effect(image))
    assert (sample.height, sample.width) == (20, 40)
    assert np.abs(pixels(sample).mean() - image.mean()) < 1.0
    assert Encoder(PrivacySection(max_side=200)).sample(effect(image)).width == 120


def negative(image: Image) -> Image:
    """A redactor."""
    return 255 - image


def greedy(image: Image) -> Image:
    """A redactor that writes into what it is given, and fails."""
    image[:] = 0
    raise RuntimeError("no face model")


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (greedy, "the redactor failed"),
        (lambda image: image[:4], "no picture"),
        (lambda image: None, "no picture"),
    ],
)
def test_a_redactor_that_fails_keeps_the_picture_here(
    monkeypatch: pytest.MonkeyPatch, function: Any, text: str
) -> None:
    monkeypatch.setattr(redact, "load_redactor", lambda name: function)
    encoder, image = Encoder(PrivacySection(redactor="faces")), smooth(32, 32)
    with pytest.raises(Withheld, match=text):
        encoder.sample(effect(image))
    assert (image == smooth(32, 32)).all()


def test_a_redactor_sees_every_picture_and_its_result_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "load_redactor", lambda name: negative)
    image = smooth(32, 32)
    assert (pixels(Encoder(PrivacySection(redactor="faces")).sample(effect(image))) == 255 - image).all()


def test_a_redactor_that_is_not_installed_is_a_mistake_and_not_a_leak() -> None:
    with pytest.raises(ConfigError, match=r"'faces' is not installed.*known"):
        Encoder(PrivacySection(redactor="faces"))


@given(
    st.integers(0, 6000),
    st.floats(0.0, 1e-3),
    st.sampled_from(((28, 28, 1), (32, 32, 3), (96, 64, 3), (5, 7, 4))),
)
@example(795, 0.0, (32, 32, 3))
@settings(max_examples=60, deadline=None)
def test_no_sample_is_larger_than_what_was_paid(
    price: int, byte_price: float, shape: tuple[int, int, int]
) -> None:
    chosen = effect(smooth(*shape), price, byte_price)
    try:
        sample = Encoder(PrivacySection()).sample(chosen)
    except TooDear:
        return
    assert len(encode(sample)) + ROW_BYTES <= price
    if shape[2] == 4:
        assert sample.data == chosen.image.tobytes()


def test_scarce_bytes_make_pictures_lossy_and_plenty_never_does() -> None:
    image = smooth(160, 160)
    sizes = []
    for byte_price in (0.0, 3e-6, 1e-4):
        sample = Encoder(PrivacySection()).sample(effect(image, byte_price=byte_price))
        sizes.append(len(sample.data))
        assert sample.codec == ("jpeg" if byte_price else "png")
    assert sizes == sorted(sizes, reverse=True)
    with pytest.raises(TooDear):
        Encoder(PrivacySection()).sample(effect(image, price_bytes=900))
    small = Encoder(PrivacySection()).sample(effect(smooth(28, 28, 1), byte_price=1e-3))
    assert small.codec == "png"
    tight = Encoder(PrivacySection()).sample(effect(image, price_bytes=12_000))
    assert tight.codec == "jpeg", "too large without loss for what was paid"


def test_a_question_and_an_audit_sample_go_as_an_embedding_where_every_picture_is_too_dear() -> None:
    image = smooth(160, 160)
    embedding = np.linspace(-1.0, 1.0, 40, dtype=np.float32)
    for lane in ("ask", "audit"):
        chosen = effect(image, 900, lane=lane, descriptor=embedding, chance=0.25, verdict="unknown")
        sample, picture_bytes = Encoder(PrivacySection()).encode(chosen)
        assert (sample.codec, sample.data, sample.lane) == ("none", b"", lane)
        assert (sample.predicted, sample.entropy, sample.chance, sample.verdict) == (1, 0.5, 0.25, "unknown")
        assert np.frombuffer(sample.descriptor, "<f2") == pytest.approx(embedding, abs=1e-3)
        assert len(encode(sample)) + ROW_BYTES <= 900 < picture_bytes
        # What it says of the picture's size is enough for one.
        again = Encoder(PrivacySection()).encode(dataclasses.replace(chosen, price_bytes=picture_bytes))
        assert again.sample.codec == "jpeg"
        assert again.picture_bytes == 0
    for never in (
        effect(image, 900, lane="adapt", descriptor=embedding),
        effect(image, 900, lane="ask", descriptor=None),
        effect(image, 300, lane="ask", descriptor=embedding),
    ):
        with pytest.raises(TooDear):
            Encoder(PrivacySection()).sample(never)
    with pytest.raises(TooDear):
        Encoder(PrivacySection(blurred=((0.0, 0.0, 0.1, 0.1),))).sample(
            effect(image, 900, lane="ask", descriptor=embedding)
        )


def test_an_embedding_is_taken_where_a_picture_costs_more_than_it_is_worth_over_it() -> None:
    """0.72 for the smallest picture and 0.1 for the embedding: by the price of a byte one or the other."""
    image, encoder = smooth(160, 160), Encoder(PrivacySection())
    chosen = effect(image, lane="ask")
    small = encoder.sample(dataclasses.replace(chosen, byte_price=1.0))
    assert small.codec == "none"
    half = encoder.sample(dataclasses.replace(chosen, lane="adapt", byte_price=1.0))
    assert half.codec == "jpeg"
    more_bytes = len(encode(half)) - len(encode(small))
    codecs = [
        encoder.sample(dataclasses.replace(chosen, byte_price=share * 0.62 / more_bytes)).codec
        for share in (0.5, 0.9, 1.1, 2.0)
    ]
    assert codecs == ["jpeg", "jpeg", "none", "none"]


def test_arrays_leave_raw_as_float32() -> None:
    array = np.linspace(-1.0, 1.0, 3 * 40, dtype=np.float32).reshape(3, 40)
    sample = Encoder(PrivacySection()).sample(effect(array))
    assert (sample.codec, sample.height, sample.width, sample.channels) == ("raw", 1, 40, 3)
    assert (np.frombuffer(sample.data, "<f4").reshape(3, 40) == array).all()
    with pytest.raises(Withheld, match="arrays"):
        Encoder(PrivacySection(max_side=8)).sample(effect(array))
