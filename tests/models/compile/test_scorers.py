"""Scorers at compile time: which are fitted, what their p-values rest on, and how the head is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from edgeadapt.bundle import Bundle, InputSpec, Slot, read_folder
from edgeadapt.errors import ConfigError
from edgeadapt.scoring import Outputs, Suite
from edgeadapt.tensors import FloatArray
from edgeadapt_models.cli import group
from edgeadapt_models.compile import Compilation, compile_module, tiny_images, tiny_module
from edgeadapt_models.compile.calibrate import Moments, Source, measure
from edgeadapt_models.compile.report import missing_line
from edgeadapt_models.compile.scorers import ScorerRequest, default_scorers, fit_scorers, linear_head
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.compile.tiny import CLASSES, TinyNet


def compiled(module: nn.Module, out: Path, request: ScorerRequest, count: int = 1200) -> Compilation:
    return compile_module(
        module,
        name="tiny",
        classes=CLASSES,
        spec=InputSpec((1, 28, 28)),
        data=Frames(*tiny_images(count, seed=0)),
        out=out,
        scorers=request,
    )


def outputs_of(bundle: Bundle, images: npt.NDArray[np.uint8]) -> Outputs:
    model = bundle.probe_model(bundle.artifact("onnxruntime"), {})
    found = measure(model, bundle.manifest, Frames(images))
    return Outputs(found.logits, found.embedding, found.features)


def source_of(logits: FloatArray, embedding: FloatArray) -> Source:
    """What a model says, without what is measured inside of it."""
    nothing = np.zeros(1)
    return Source(logits, embedding, Moments(nothing, nothing), np.zeros((len(logits), 2), np.float32))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Compilation:
    """By default, on half of the data."""
    return compiled(tiny_module(0), tmp_path_factory.mktemp("scorers") / "tiny", ScorerRequest())


def test_a_bundle_has_two_scorers_that_tell_noise_from_gratings(tiny: Compilation) -> None:
    suite = Suite.of(tiny.bundle.calibration)
    assert suite.names == ("fdbd", "vim")
    assert missing_line(tiny.bundle) == ""
    fresh = outputs_of(tiny.bundle, tiny_images(1000, seed=77)[0])
    share = (suite.combine(suite.p_values(suite.score(fresh))) <= 0.05).mean()
    assert 0.02 < share < 0.09
    noise = np.random.default_rng(0).integers(0, 256, (300, 28, 28, 1)).astype(np.uint8)
    odd = suite.combine(suite.p_values(suite.score(outputs_of(tiny.bundle, noise))))
    assert (odd <= 0.05).mean() > 0.6
    line = next(note for note in tiny.notes if note.startswith("scorers: "))
    assert line.startswith("scorers: fdbd, vim (")
    assert line.endswith(
        "bytes; linear head: the model's own); p-values from 600 frames: the half of the calibration data "
        "that no scorer was fitted on"
    )


def test_knots_are_of_the_half_that_was_not_fitted_on() -> None:
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((40, 60)).astype(np.float32)
    # Fitted on 20 frames in 60 dimensions, a scorer knows those by heart and is surprised by any other.
    source = source_of(embedding[:, :3], embedding)
    fitted = fit_scorers(source, None, None, None, "none", ScorerRequest(("prototype-mixture",)))
    again = fit_scorers(source, None, None, None, "none", ScorerRequest(("prototype-mixture",)))
    np.testing.assert_array_equal(fitted.knots["prototype-mixture"], again.knots["prototype-mixture"])
    own = fit_scorers(source, None, source, None, "none", ScorerRequest(("prototype-mixture",)))
    assert np.median(fitted.knots["prototype-mixture"][33:]) < np.median(own.knots["prototype-mixture"][33:])
    assert fitted.notes[1] == "no frame can get a p-value below 4.8%: bring more source data"


def test_a_holdout_is_what_p_values_rest_on(tmp_path: Path) -> None:
    holdout = Frames(*tiny_images(300, seed=5))
    made = compiled(tiny_module(0), tmp_path / "b", ScorerRequest(("energy",), holdout, "given"), count=400)
    assert any(n.endswith("p-values from 300 frames: the holdout data given") for n in made.notes)
    suite = Suite.of(made.bundle.calibration)
    p = suite.p_values(suite.score(outputs_of(made.bundle, holdout.frames)))[:, 0]
    # Of the calibration frames themselves, p-values are evenly spread to within a knot.
    np.testing.assert_allclose(np.sort(p), (1 + np.arange(1, 301)) / 301, atol=0.02)


class Squared(TinyNet):
    """A last step that is not linear, with the embedding beside it."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, embedding = super().forward(x)
        return logits * logits.abs(), embedding


def test_a_model_without_a_linear_head_goes_without_what_needs_one(tmp_path: Path) -> None:
    module = Squared("batch")
    module.load_state_dict(tiny_module(0).state_dict())
    made = compiled(module.eval(), tmp_path / "b", ScorerRequest(), count=400)
    assert set(made.bundle.calibration.knots) == {"energy", "prototype-mixture"}
    line = missing_line(made.bundle)
    assert line.startswith("without fdbd, vim: they need a linear head.")
    assert f"fewer than {2 * (made.bundle.manifest.embedding_dim + 1)} source frames" in line
    asked = compiled(module, tmp_path / "c", ScorerRequest(("vim", "abet", "energy")), count=400)
    assert set(asked.bundle.calibration.knots) == {"energy"}
    assert missing_line(asked.bundle) == "without fdbd, vim: others were asked for (--scorer)"
    assert "scorer vim is left out: the model has no head" in asked.notes
    assert "scorer abet is left out: the model has no temperature" in asked.notes
    assert any("linear head: none, as the logits are no linear function" in note for note in asked.notes)


def _made_up(count: int, width: int = 6) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    rng = np.random.default_rng(1)
    parts = (rng.standard_normal(shape) for shape in ((count, width), (3, width), (3,)))
    embedding, weight, bias = (part.astype(np.float32) for part in parts)
    return embedding, weight, bias, embedding @ weight.T + bias


def test_the_head_is_the_models_own_where_it_explains_the_logits() -> None:
    embedding, weight, bias, logits = _made_up(50)
    slots = [Slot("w", "head_weight", "head", (3, 6), -9, 9), Slot("b", "head_bias", "head", (3,), -9, 9)]
    head, origin = linear_head(slots, {"w": weight, "b": bias}, source_of(logits, embedding))
    assert origin == "the model's own"
    assert head is not None
    assert head.weight is weight
    # An embedding that is not the head's input: twice as long, so another head explains the logits.
    head, origin = linear_head(slots, {"w": weight, "b": bias}, source_of(logits, 2 * embedding))
    assert origin == "fitted by least squares"
    assert head is not None
    np.testing.assert_allclose(head.weight, weight / 2, atol=1e-5)
    np.testing.assert_allclose(head.bias, bias, atol=1e-5)


def test_no_head_is_made_up() -> None:
    embedding, _, _, logits = _made_up(50)
    assert linear_head((), {}, source_of(logits**3, embedding))[0] is None
    # 13 frames and 7 unknowns a class: a solution would fit half of them whatever they are.
    few, origin = linear_head((), {}, source_of(logits[:13], embedding[:13]))
    assert few is None
    assert "too few" in origin


def test_defaults_fit_the_model() -> None:
    assert default_scorers(10, head=True) == ("fdbd", "vim")
    assert default_scorers(10, head=False) == ("energy", "prototype-mixture")
    assert default_scorers(1000, head=True) == ("energy", "vim")


def test_an_unknown_scorer_stops_the_compiler_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown scorer 'enregy'; known: "):
        compiled(tiny_module(0), tmp_path / "b", ScorerRequest(("enregy",)), count=40)
    assert not (tmp_path / "b").exists()


def test_scorers_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scorernet.py").write_text(
        "from edgeadapt_models.compile import tiny_module\ndef build():\n    return tiny_module(0).eval()\n"
    )
    for name, seed in (("fit", 1), ("rest", 2)):
        images, labels = tiny_images(60, seed=seed)
        np.savez(tmp_path / f"{name}.npz", frames=images, labels=labels)
    command = ["compile", "--torch", "scorernet:build", "--calibration", "fit.npz", "--holdout", "rest.npz"]
    command += ["--scorer", "rmds", "--scorer", "style", "--out", "bundle"]
    with torch.random.fork_rng(devices=[]):
        result = CliRunner().invoke(group, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "note: scorers: rmds, style (" in result.output
    assert "p-values from 60 frames: the holdout data given" in result.output
    assert Suite.of(read_folder(Path("bundle")).calibration).names == ("rmds", "style")
    shown = CliRunner().invoke(group, ["inspect", "bundle"], catch_exceptions=False).output
    assert "without fdbd, vim" in shown
    assert "rmds, style; " in shown
    refused = CliRunner().invoke(
        group, ["compile", "fashion-mnist/resnet8", "--holdout", "rest.npz", "--out", "other"]
    )
    assert refused.exit_code == 2
    assert "--holdout: for your own model" in refused.output
