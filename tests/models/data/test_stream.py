"""Streams of domains: what is drawn, in which order, and that it can be repeated."""

from collections.abc import Sequence

import numpy as np
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_models.data import (
    CORRUPTIONS,
    Dataset,
    RenderedStream,
    Segment,
    StreamSpec,
    parse_segments,
    render,
)
from edgeadapt_models.data.streams.stream import NO_CORRUPTION


def stream(toy: Dataset, segments: Sequence[Segment], seed: int = 0) -> RenderedStream:
    return render(StreamSpec("toy", tuple(segments), seed), toy)


def test_same_spec_same_bytes_and_another_seed_other_pictures(toy: Dataset) -> None:
    segments = parse_segments("clean:20,frost:3:40,mixed(fog:5,shot_noise:3):40")
    first, again, other = stream(toy, segments), stream(toy, segments), stream(toy, segments, seed=1)
    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)


def test_clean_frames_are_test_pictures_without_repetition_until_exhausted(toy: Dataset) -> None:
    rendered = stream(toy, [Segment("clean", 70), Segment("clean", 50), Segment("clean", 120)])
    pictures = rendered.frames[:, 0, 0, 0].astype(int)  # the corner pixel is the picture's index
    assert sorted(pictures[:120]) == list(range(120))
    assert sorted(pictures[120:]) == list(range(120))
    assert pictures[:120].tolist() != pictures[120:].tolist()
    assert np.array_equal(rendered.frames, toy.test_images[pictures])
    assert np.array_equal(rendered.labels, toy.test_labels[pictures])


def test_a_segment_is_corrupted_and_says_so(toy: Dataset) -> None:
    rendered = stream(toy, [Segment("clean", 30), Segment("contrast:5", 30)])
    assert rendered.domain_names == ("clean", "contrast:5")
    assert rendered.domains.tolist() == [0] * 30 + [1] * 30
    assert rendered.corruptions.tolist() == [NO_CORRUPTION] * 30 + [CORRUPTIONS.index("contrast")] * 30
    assert rendered.severities.tolist() == [0] * 30 + [5] * 30
    spread = rendered.frames.std(axis=(1, 2, 3))
    assert spread[30:].max() < spread[:30].min()


def test_a_returning_domain_has_its_name_and_new_randomness(toy: Dataset) -> None:
    rendered = stream(toy, parse_segments("gaussian_noise:5:120,clean:10,gaussian_noise:5:110"))
    assert rendered.domain_names == ("gaussian_noise:5", "clean")
    assert rendered.domains[0] == rendered.domains[-1] == 0
    assert not np.array_equal(rendered.frames[:5], rendered.frames[130:135])


def test_a_mix_picks_among_its_conditions(toy: Dataset) -> None:
    rendered = stream(toy, [Segment("mixed(brightness:5, contrast:4)", 200)])
    bright = rendered.corruptions == CORRUPTIONS.index("brightness")
    assert 60 < bright.sum() < 140
    assert set(rendered.severities[bright]) == {5}
    assert set(rendered.severities[~bright]) == {4}
    assert rendered.frames[bright].mean() > rendered.frames[~bright].mean() + 20


def test_a_ramp_changes_the_frames_step_by_step(toy: Dataset) -> None:
    rendered = stream(toy, [Segment("brightness:1-5", 500)])
    light = [rendered.frames[rendered.severities == severity].mean() for severity in (1, 2, 3, 4, 5)]
    assert light == sorted(light)
    assert np.array_equal(rendered.severities, np.sort(rendered.severities))


def test_class_weights_are_respected(toy: Dataset) -> None:
    rendered = stream(toy, [Segment("clean", 400, class_weights=(3.0, 1.0, 0.0, 0.0))])
    counts = np.bincount(rendered.labels, minlength=4)
    assert counts[2:].tolist() == [0, 0]
    assert 260 < counts[0] < 340
    first_thirty = rendered.frames[rendered.labels == 0][:30, 0, 0, 0]
    assert len(set(first_thirty.tolist())) == 30  # no picture twice before its class is used up


def test_a_small_dirichlet_concentration_favours_few_classes(toy: Dataset) -> None:
    uneven = stream(toy, [Segment("clean", 200, dirichlet=0.1)])
    even = stream(toy, [Segment("clean", 200, dirichlet=1000.0)])
    assert np.bincount(uneven.labels, minlength=4).max() > 100
    assert np.bincount(even.labels, minlength=4).max() < 80


def test_runs_dwell_on_a_class_and_keep_the_classes_balance(toy: Dataset) -> None:
    rendered = stream(toy, [Segment("clean", 120, run_length=10)])
    runs = rendered.labels.reshape(12, 10)
    assert (runs == runs[:, :1]).all()
    assert np.bincount(rendered.labels).tolist() == [30] * 4
    assert len(np.flatnonzero(np.diff(runs[:, 0]))) > 3  # not simply sorted


def test_progress_counts_every_frame(toy: Dataset) -> None:
    done: list[int] = []
    render(StreamSpec("toy", parse_segments("clean:300,fog:2:10")), toy, done.append)
    assert sum(done) == 310
    assert len(done) == 3


def test_segments_in_short() -> None:
    short = parse_segments("clean:500, fog:1-5:20,mixed(fog:5,snow:1):7")
    assert [(segment.domain, segment.frames) for segment in short] == [
        ("clean", 500),
        ("fog:1-5", 20),
        ("mixed(fog:5,snow:1)", 7),
    ]
    for text in ("", "clean", "fog:5:many", "clean:500,"):
        with pytest.raises(ConfigError, match="expected"):
            parse_segments(text)


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ({"frames": 0}, "at least 1"),
        ({"run_length": 0}, "at least 1"),
        ({"dirichlet": 0.0}, "above 0"),
        ({"class_weights": (0.0, 0.0)}, "not all 0"),
        ({"class_weights": (1.0, -1.0)}, "0 or more"),
        ({"class_weights": (1e308, 1e308)}, "finite sum"),
        ({"class_weights": (1.0, float("nan"))}, "finite sum"),
        ({"class_weights": (float("nan"), 1.0)}, "finite sum"),
        ({"class_weights": (1.0,), "dirichlet": 1.0}, "not both"),
        ({"domain": "haze:3"}, "unknown corruption"),
    ],
)
def test_segments_that_make_no_sense_are_refused(segment: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Segment(**({"domain": "clean", "frames": 5} | segment))  # type: ignore[arg-type]


@pytest.mark.parametrize("frames", [10**12, 10**30])
def test_a_stream_that_no_memory_holds_is_refused(toy: Dataset, frames: int) -> None:
    with pytest.raises(ConfigError, match=f"{frames} frames take .* GB of memory.*fewer frames"):
        stream(toy, [Segment("clean", frames)])


def test_a_stream_must_fit_its_data_set(toy: Dataset) -> None:
    with pytest.raises(ConfigError, match="weighs 2 classes, there are 4"):
        stream(toy, [Segment("clean", 5, class_weights=(1.0, 1.0))])
    with pytest.raises(ConfigError, match="stream is of 'other'"):
        render(StreamSpec("other", (Segment("clean", 5),)), toy)
    with pytest.raises(ConfigError, match="at least one segment"):
        StreamSpec("toy", ())
