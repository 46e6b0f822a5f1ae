"""A sample says whether its picture is what the model saw: the cloud cannot tell."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt_device.config import PrivacySection
from edgeadapt_device.core.events import Image
from edgeadapt_device.io.leaving import Encoder, redact
from tests.device.io.test_leaving import effect, smooth

PART = ((0.0, 0.0, 0.5, 0.5),)


@pytest.mark.parametrize(
    ("privacy", "altered"),
    [
        (PrivacySection(), False),
        (PrivacySection(blurred=PART), True),
        (PrivacySection(max_side=24), True),
        (PrivacySection(max_side=48), False),
        (PrivacySection(mode="embedding"), False),
    ],
)
def test_the_privacy_switches_show(privacy: PrivacySection, altered: bool) -> None:
    sample = Encoder(privacy).sample(effect(smooth(32, 32), descriptor=np.ones(4, np.float32)))
    assert sample.altered == altered


def test_a_redactor_that_finds_nothing_leaves_the_picture_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def faces(image: Image) -> Image:
        """Blackens what is bright."""
        image = image.copy()
        image[image > 250] = 0
        return image

    monkeypatch.setattr(redact, "load_redactor", lambda name: faces)
    encoder, image = Encoder(PrivacySection(redactor="faces")), np.minimum(smooth(32, 32), 250)
    assert not encoder.sample(effect(image)).altered
    image[3, 3] = 255
    assert encoder.sample(effect(image)).altered
