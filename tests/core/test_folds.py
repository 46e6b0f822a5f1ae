"""Every write against the layers it stands for, written out in plain numpy, through `materialise`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeadapt.bundle import Artifact, Copy, NormLayer, Region, Write, materialise
from edgeadapt.bundle.folds import border_mask, expand_prompt
from edgeadapt.bundle.writes import Affine, ConvAdapter, FoldNorm, FoldNormInt8, HeadShift, LowRank, Prompt
from edgeadapt.errors import BundleError

Array = npt.NDArray[Any]
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 5)
_DTYPES: dict[str, Literal["float32", "int32", "int8"]] = {"f4": "float32", "i4": "int32", "i1": "int8"}


class File:
    """A model file of named arrays one behind the other, with an odd number of bytes before each."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = dict(arrays)
        self.data = b""
        self.at: dict[str, Region] = {}
        for name, array in arrays.items():
            self.data += b"HDR"
            self.at[name] = Region(len(self.data), array.shape, _DTYPES[array.dtype.str[1:]])
            self.data += array.tobytes()

    def written(
        self,
        writes: tuple[Write, ...],
        values: Mapping[str, Array],
        base: Mapping[str, Array] | None = None,
        layers: tuple[NormLayer, ...] = (),
    ) -> dict[str, Array]:
        """The arrays after the writes; whatever lies between them must be as it was."""
        measured = tuple[Literal["input"], ...]("input" for _ in layers)
        artifact = Artifact("onnxruntime", "model.onnx", "", writes, measured)
        out = materialise(self.data, artifact, layers, floats(values), floats(base or values))
        found, end = {}, 0
        for name, region in self.at.items():
            assert out[end : region.offset] == b"HDR"
            array, end = self.arrays[name], region.end
            found[name] = np.frombuffer(out, array.dtype, array.size, region.offset).reshape(array.shape)
        assert len(out) == len(self.data)
        return found


def floats(values: Mapping[str, Array]) -> dict[str, npt.NDArray[np.float32]]:
    return {name: np.asarray(value, np.float32) for name, value in values.items()}


def random(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.float32]:
    return rng.normal(size=shape).astype("<f4")


def norm_values(rng: np.random.Generator, channels: int) -> tuple[NormLayer, dict[str, Array]]:
    layer = NormLayer("bn", "batch", channels, 1e-3, 0, "scale", "bias", "mean", "var")
    values = {name: random(rng, channels) for name in ("scale", "bias", "mean")}
    return layer, {**values, "var": rng.uniform(0.1, 4.0, channels).astype("<f4")}


def norm(x: Array, values: Mapping[str, Array], epsilon: float = 1e-3) -> Array:
    """Inference of a norm layer whose channels are the last axis of x."""
    spread = np.sqrt(values["var"].astype(np.float64) + epsilon)
    return (x - values["mean"]) / spread * values["scale"] + values["bias"]


def convolve(x: Array, kernel: Array) -> Array:
    """x [I, H, W] with kernel [O, I, k, k], stride 1, padding k // 2: [O, H, W], the definition as loops."""
    outputs, _, side, _ = kernel.shape
    pad = side // 2
    padded = np.pad(x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad)))
    result = np.zeros((outputs, *x.shape[1:]))
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            patch = padded[:, row : row + side, column : column + side]
            result[:, row, column] = (kernel * patch).sum(axis=(1, 2, 3))
    return result


def close(actual: Array, expected: Array) -> None:
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * scale)


@given(SEEDS, SIZES, SIZES)
def test_copy_in_either_order(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    value = random(rng, rows, columns)
    file = File({"as_is": random(rng, rows, columns), "turned": random(rng, columns, rows)})
    writes = Copy("w", file.at["as_is"]), Copy("w", file.at["turned"], transposed=True)
    out = file.written(writes, {"w": value})
    np.testing.assert_array_equal(out["as_is"], value)
    np.testing.assert_array_equal(out["turned"], value.T)
    assert file.written(writes, {}, {"w": value})["as_is"].tobytes() == file.arrays["as_is"].tobytes()


@given(SEEDS, SIZES, SIZES, st.booleans())
def test_a_folded_norm_is_the_norm_behind_the_matrix(
    seed: int, outputs: int, inputs: int, transposed: bool
) -> None:
    rng = np.random.default_rng(seed)
    weight, bias, x = random(rng, outputs, inputs), random(rng, outputs), random(rng, 7, inputs)
    layer, values = norm_values(rng, outputs)
    file = File({"weight": np.ascontiguousarray(weight.T) if transposed else weight, "bias": bias})
    write = FoldNorm("bn", file.at["weight"], 1 if transposed else 0, file.at["bias"])
    out = file.written((write,), {}, values, (layer,))
    folded = out["weight"].T if transposed else out["weight"]
    close(x @ folded.T + out["bias"], norm(x.astype(np.float64) @ weight.T + bias, values))


@given(SEEDS, SIZES)
def test_affine_constants_are_the_norm(seed: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    layer, values = norm_values(rng, channels)
    file = File({"scale": random(rng, channels, 1, 1), "shift": random(rng, channels)})
    out = file.written((Affine("bn", file.at["scale"], file.at["shift"]),), values, None, (layer,))
    x = random(rng, 5, channels)
    close(x * out["scale"].ravel() + out["shift"], norm(x, values))


@given(SEEDS, SIZES, SIZES, st.booleans())
def test_int8_scales_and_biases_carry_the_norm(seed: int, outputs: int, inputs: int, stored: bool) -> None:
    rng = np.random.default_rng(seed)
    integers = rng.integers(-127, 128, (outputs, inputs))
    scale = rng.uniform(1e-3, 1e-2, outputs).astype("<f4")
    bias, input_scale = random(rng, outputs), 0.02
    layer, values = norm_values(rng, outputs)
    gain = values["scale"] / np.sqrt(values["var"] + 1e-3)
    sign = np.where(gain < 0, -1, 1)
    arrays = {"scale": scale, "bias": bias.view("<i4"), "bias_scale": random(rng, outputs)}
    file = File(arrays)
    write = FoldNormInt8(
        "bn",
        file.at["scale"],
        file.at["bias"],
        input_scale,
        tuple(np.flatnonzero(gain < 0).tolist()),
        file.at["bias_scale"] if stored else None,
    )
    out = file.written((write,), values, None, (layer,))
    # What an int8 kernel computes: integers only, then one scale per channel. The weights hold the sign.
    x = rng.integers(-128, 128, (7, inputs))
    step = input_scale * out["scale"].astype(np.float64)
    actual = (x @ (integers * sign[:, None]).T + out["bias"]) * step
    raw = (x * input_scale) @ (integers * scale[:, None].astype(np.float64)).T + bias
    np.testing.assert_allclose(
        actual, norm(raw, values), atol=2e-5 * max(1.0, np.abs(raw).max()) + step.max()
    )
    if stored:
        np.testing.assert_allclose(out["bias_scale"], step, rtol=1e-6)


def test_an_int8_sign_that_turns_is_refused() -> None:
    rng = np.random.default_rng(0)
    layer, values = norm_values(rng, 2)
    values["scale"] = np.array([1.0, -1.0], "<f4")
    file = File({"scale": np.ones(2, "<f4"), "bias": np.zeros(2, "<i4")})
    good = FoldNormInt8("bn", file.at["scale"], file.at["bias"], 0.1, (1,))
    file.written((good,), values, None, (layer,))
    bad = FoldNormInt8("bn", file.at["scale"], file.at["bias"], 0.1, (0, 1))
    with pytest.raises(BundleError, match="channel 0 would change its sign"):
        file.written((bad,), values, None, (layer,))


def test_an_int8_channel_that_is_switched_off_keeps_its_bias() -> None:
    layer, values = norm_values(np.random.default_rng(0), 1)
    values.update(scale=np.zeros(1, "<f4"), bias=np.full(1, 0.75, "<f4"))
    file = File({"scale": np.ones(1, "<f4"), "bias": np.ones(1, "<f4").view("<i4")})
    write = FoldNormInt8("bn", file.at["scale"], file.at["bias"], 0.1)
    out = file.written((write,), values, None, (layer,))
    assert out["bias"][0] * 0.1 * float(out["scale"][0]) == pytest.approx(0.75, rel=1e-6)
    assert 127 * 128 * 1000 * 0.1 * out["scale"][0] < 0.02  # a thousand weights at full scale add nothing


@given(
    st.floats(0, 1e4, width=32),
    st.floats(-1e4, 1e4, width=32),
    st.floats(0, 1e8, width=32),
    st.floats(1e-8, 1e3),
    st.floats(2**-26, 1e3, width=32),
)
def test_an_int8_bias_leaves_room_for_what_is_added(
    scale: float, bias: float, var: float, input_scale: float, raw: float
) -> None:
    """Whatever the values: steps above 0 and normal, and a sum of many products stays below 2^31."""
    layer, values = norm_values(np.random.default_rng(0), 1)
    values = {name: np.full(1, v, "<f4") for name, v in zip(values, (scale, bias, 0.5, var), strict=True)}
    file = File(
        {
            "scale": np.full(1, raw, "<f4"),
            "bias": np.full(1, bias, "<f4").view("<i4"),
            "step": np.ones(1, "<f4"),
        }
    )
    write = FoldNormInt8("bn", file.at["scale"], file.at["bias"], input_scale, (), file.at["step"])
    out = file.written((write,), values, None, (layer,))
    assert abs(int(out["bias"][0])) + 33_000 * 127 * 255 < 2**31
    assert min(out["scale"][0], out["step"][0]) > np.finfo(np.float32).tiny
    folded = (bias - 0.5) * scale / np.sqrt(np.float64(np.float32(var)) + 1e-3) + bias
    assert out["bias"][0] * np.float64(out["step"][0]) == pytest.approx(
        folded, rel=1e-5, abs=float(out["step"][0])
    )


@settings(max_examples=30)
@given(SEEDS, SIZES, SIZES, st.sampled_from([1, 3, 5]), st.sampled_from(["OIHW", "OHWI"]))
def test_a_convolution_adapter_is_a_parallel_1x1_branch(
    seed: int, outputs: int, inputs: int, side: int, storage: str
) -> None:
    rng = np.random.default_rng(seed)
    kernel, adapter = random(rng, outputs, inputs, side, side), random(rng, outputs, inputs)
    last = storage == "OHWI"
    file = File({"weight": np.ascontiguousarray(kernel.transpose(0, 2, 3, 1)) if last else kernel})
    write = ConvAdapter("a", file.at["weight"], (1, 2) if last else (2, 3))
    out = file.written((write,), {"a": adapter})["weight"]
    x = random(rng, inputs, 4, 6)
    branch = np.einsum("oi,ihw->ohw", adapter.astype(np.float64), x)
    close(convolve(x, out.transpose(0, 3, 1, 2) if last else out), convolve(x, kernel) + branch)


@given(SEEDS, SIZES)
def test_a_depthwise_adapter_scales_each_pixel(seed: int, channels: int) -> None:
    """LiteRT stores a depthwise kernel as [1, H, W, O]: the input axis comes first."""
    rng = np.random.default_rng(seed)
    kernel, adapter = random(rng, 1, 3, 3, channels), random(rng, channels, 1)
    file = File({"weight": kernel})
    write = ConvAdapter("a", file.at["weight"], (1, 2), transposed=True)
    out = file.written((write,), {"a": adapter})["weight"]
    x = random(rng, channels, 4, 4)
    for channel in range(channels):
        before, after = (k[0, :, :, channel][None, None] for k in (kernel, out))
        close(
            convolve(x[channel : channel + 1], after),
            convolve(x[channel : channel + 1], before) + adapter[channel] * x[channel],
        )


@given(SEEDS, SIZES, SIZES, SIZES, st.booleans())
def test_low_rank_is_a_second_path(seed: int, outputs: int, inputs: int, rank: int, transposed: bool) -> None:
    rng = np.random.default_rng(seed)
    weight, down, up = random(rng, outputs, inputs), random(rng, rank, inputs), random(rng, outputs, rank)
    file = File({"weight": np.ascontiguousarray(weight.T) if transposed else weight})
    write = LowRank("down", "up", file.at["weight"], transposed)
    # A patch may carry `up` alone: `down` is then the base's.
    out = file.written((write,), {"up": up}, {"down": down, "up": np.zeros_like(up)})["weight"]
    x = random(rng, 6, inputs).astype(np.float64)
    close(x @ (out if transposed else out.T), x @ weight.T + (x @ down.T) @ up.T)


@given(SEEDS, SIZES, SIZES, st.booleans())
def test_a_shift_of_the_embedding(seed: int, classes: int, width: int, transposed: bool) -> None:
    rng = np.random.default_rng(seed)
    weight, bias, shift = random(rng, classes, width), random(rng, classes), random(rng, width)
    file = File({"weight": np.ascontiguousarray(weight.T) if transposed else weight, "bias": bias})
    write = HeadShift("shift", file.at["weight"], file.at["bias"], transposed)
    out = file.written((write,), {"shift": shift})
    embedding = random(rng, 5, width).astype(np.float64)
    close(embedding @ weight.T + out["bias"], (embedding + shift) @ weight.T + bias)


def test_what_is_zero_is_not_added() -> None:
    """Not even where the weights are not finite; a base bundle is built again whenever statistics move."""
    weight, bias = np.full((2, 2), np.inf, "<f4"), np.full(2, 0.25, "<f4")
    file = File({"weight": weight, "bias": bias})
    at = file.at["weight"]
    writes = (
        HeadShift("shift", at, file.at["bias"]),
        ConvAdapter("adapter", at, ()),
        LowRank("down", "up", at),
    )
    values = {
        "shift": np.zeros(2),
        "adapter": np.zeros((2, 2)),
        "up": np.zeros((2, 1)),
        "down": np.ones((1, 2)),
    }
    out = file.written(writes, values)
    np.testing.assert_array_equal(out["bias"], bias)
    np.testing.assert_array_equal(out["weight"], weight)


def test_a_shift_uses_the_head_that_the_patch_brings() -> None:
    rng = np.random.default_rng(3)
    weight, bias, shift = random(rng, 3, 4), random(rng, 3), random(rng, 4)
    file = File({"weight": random(rng, 3, 4), "bias": random(rng, 3)})
    writes = (
        Copy("w", file.at["weight"]),
        Copy("b", file.at["bias"]),
        HeadShift("shift", file.at["weight"], file.at["bias"]),
    )
    out = file.written(writes, {"w": weight, "b": bias, "shift": shift})
    close(out["bias"], bias + weight @ shift)


@given(SEEDS, st.sampled_from(["full", "border", "low"]), st.sampled_from(["NCHW", "NHWC"]))
def test_a_prompt_is_added_to_every_frame(seed: int, form: Any, layout: Any) -> None:
    """The graph computes (x - mean) / std; the prompt is merged into the mean."""
    rng = np.random.default_rng(seed)
    channels, height, width, border = 3, int(rng.integers(2, 9)), int(rng.integers(2, 9)), 1
    mean, x = random(rng, channels, height, width), random(rng, channels, height, width)
    size = int(border_mask(height, width, border).sum())
    shapes = {"full": (channels, height, width), "border": (channels, size), "low": (channels, 2, 3)}
    prompt = random(rng, *shapes[form])
    file = File({"mean": np.ascontiguousarray(np.moveaxis(mean, 0, -1)) if layout == "NHWC" else mean})
    write = Prompt("p", file.at["mean"], form, (-1.0, -1.0, -1.0), layout, border if form == "border" else 0)
    out = file.written((write,), {"p": prompt})["mean"]
    stored = np.moveaxis(out, -1, 0) if layout == "NHWC" else out
    spread = expand_prompt(prompt.astype(np.float64), form, x.shape, border)
    close(x - stored, x + spread - mean)


def test_a_border_is_filled_in_row_order() -> None:
    prompt = np.arange(10, dtype=np.float64)[None]
    spread = expand_prompt(prompt, "border", (1, 3, 4), 1)
    assert spread[0].tolist() == [[0, 1, 2, 3], [4, 0, 0, 5], [6, 7, 8, 9]]


@given(SEEDS, st.integers(1, 6), st.integers(1, 6), st.integers(6, 13), st.integers(6, 13))
def test_low_resolution_is_bilinear(seed: int, rows: int, columns: int, height: int, width: int) -> None:
    """Pixel i looks at source coordinate (i + 0.5) * scale - 0.5, and beyond the edge at the edge."""
    prompt = np.random.default_rng(seed).normal(size=(1, rows, columns))
    spread = expand_prompt(prompt, "low", (1, height, width))
    for i in (0, height // 2, height - 1):
        for j in (0, width // 3, width - 1):
            y = min(max((i + 0.5) * rows / height - 0.5, 0.0), rows - 1.0)
            x = min(max((j + 0.5) * columns / width - 0.5, 0.0), columns - 1.0)
            along = [np.interp(x, np.arange(columns), row) for row in prompt[0]]
            assert spread[0, i, j] == pytest.approx(np.interp(y, np.arange(rows), along))


@given(SEEDS, SIZES, SIZES)
def test_an_adapter_is_scaled_by_the_norm_behind_it(seed: int, outputs: int, inputs: int) -> None:
    """Writes run in order on one kernel: the branch joins the convolution before its norm layer."""
    rng = np.random.default_rng(seed)
    kernel, bias, adapter = (
        random(rng, outputs, inputs, 1, 1),
        random(rng, outputs),
        random(rng, outputs, inputs),
    )
    layer, values = norm_values(rng, outputs)
    file = File({"weight": kernel, "bias": bias})
    writes = (
        ConvAdapter("a", file.at["weight"], (2, 3)),
        FoldNorm("bn", file.at["weight"], 0, file.at["bias"]),
    )
    out = file.written(writes, {"a": adapter}, {"a": np.zeros_like(adapter), **values}, (layer,))
    x = random(rng, 6, inputs).astype(np.float64)
    expected = norm(x @ (kernel[:, :, 0, 0] + adapter).T + bias, values)
    close(x @ out["weight"][:, :, 0, 0].T + out["bias"], expected)
