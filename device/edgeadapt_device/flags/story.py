"""From the lines of the flag journal to the story of each frame, and a story in words. No I/O."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgeadapt_device.flags.lines import FateLine, FrameLine, Line, RowLine, SampleLine, ScoreLine, WindowLine

_FATES: Mapping[str, str] = {
    "suspect": "kept to be scored again once the model has adapted",
    "watched": "watched for a while, in case the domain has shifted",
    "counted": "counted only: there was no room to keep it",
    "normal": "scored again under the adapted model: normal, so it was the domain",
    "quarantined": "still strange: quarantined",
    "asked": "a question about its kind was asked with it",
    "dear": "not affordable: its question waits for the budget",
    "barred": "no question: uploads are off here, or privacy keeps such frames",
}

_ROWS: Mapping[str, str] = {"unasked": "to be sent unasked"}

_THRESHOLDS: Mapping[str, str] = {
    "bundle": "the bundle's, of the source's domain",
    "patch": "the patch's",
    "domain": "the device's own, from {frames:,} frames of its domain",
}
# A held sample that is sent.
_GOES = ("wanted", "unasked")
# Where values begin, and how wide a line may be.
_COLUMN, _WIDTH = 20, 80


@dataclass(slots=True)
class Story:
    """What happened to one frame.

    Attributes:
        frame: its number in the source.
        verdict: the line that says what it was; None when only later ones are left.
        fates: what the device made of it, in order.
        samples: what was stored of it, with what became of each.
        time_s: of the last thing that happened.
    """

    frame: int
    verdict: FrameLine | None = None
    fates: list[FateLine] = field(default_factory=list)
    samples: list[tuple[SampleLine, list[RowLine]]] = field(default_factory=list)
    time_s: float = 0.0


def stories(lines: Iterable[Line]) -> list[Story]:
    """Every frame that the journal knows, in the order in which they were first told of."""
    found: dict[int, Story] = {}
    rows: dict[tuple[str, int], list[RowLine]] = {}
    for line in lines:
        if isinstance(line, RowLine):
            for sequence in line.sequences:
                if (line.outbox, sequence) in rows:
                    rows[line.outbox, sequence].append(line)
            continue
        if isinstance(line, WindowLine):
            continue
        story = found.get(line.frame)
        if story is None or (isinstance(line, FrameLine) and story.verdict is not None):
            # A source that begins anew uses its numbers again.
            found.pop(line.frame, None)
            story = found[line.frame] = Story(line.frame)
        story.time_s = line.time_s
        if isinstance(line, FrameLine):
            story.verdict = line
        elif isinstance(line, FateLine):
            story.fates.append(line)
        else:
            became = rows.setdefault((line.outbox, line.sequence), []) if line.sequence else []
            story.samples.append((line, became))
    return list(found.values())


def unpaid(lines: Iterable[Line], frame: int | None = None) -> str:
    """What the adapt lane could not pay for, in words; "" when nothing is known.

    Args:
        lines: of the journal.
        frame: only of windows that looked at this one.
    """
    windows = [
        line
        for line in lines
        if isinstance(line, WindowLine) and (frame is None or line.first <= frame <= line.last)
    ]
    if not windows:
        return ""
    last, held = windows[-1], sum(line.held for line in windows)
    chosen, count = sum(line.chosen for line in windows), sum(line.windows for line in windows)
    day = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last.time_s))
    there = "there was one such window" if count == 1 else f"there were {count:,} such windows"
    return "\n".join(
        (
            "not affordable: the adapt lane had no bytes for all frames that it held",
            _row("until", f"{day}, segment {last.segment}, frames {last.first} to {last.last}"),
            _row("frames", f"{held - chosen:,} of {held:,} were let go; {there}"),
        )
    )


def text(story: Story) -> str:
    """The story for a person, some ten lines."""
    out = [_head(story)]
    if story.verdict is not None:
        out += _verdict(story.verdict)
    for fate in story.fates:
        cluster = f", kind {fate.cluster} of {fate.members} frames" if fate.cluster else ""
        again = f" (p {fate.p_value:.2g})" if fate.fate in ("normal", "quarantined") else ""
        out.append(_row(_clock(fate.time_s), f"{_FATES[fate.fate]}{cluster}{again}"))
    for sample, became in story.samples:
        out += _sample(sample, became)
    if not story.samples:
        out.append(_row("cost", "nothing: no byte of it was stored or sent"))
    return "\n".join(out)


def _head(story: Story) -> str:
    seen = story.verdict
    if seen is None:
        return f"frame {story.frame}: its verdict is no longer in the journal"
    day = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seen.time_s))
    return (
        f"frame {seen.frame}: {seen.verdict.upper()}   {day}, segment {seen.segment}, "
        f"generation {seen.generation}"
    )


def _verdict(seen: FrameLine) -> list[str]:
    model = "its own statistics" if seen.generation == "base" else f"patch {seen.generation}"
    out = [
        _row("predicted", f"{seen.predicted}, entropy {seen.entropy:.2f} nats"),
        _row("why", seen.reason or "as known frames are"),
    ]
    out += [_score(line, seen.alpha) for line in seen.scores]
    if seen.scores:
        out.append(_row("together", f"p {seen.p_value:.2g}, strange below {seen.alpha:.2g}"))
        out.append(_row("thresholds", _THRESHOLDS[seen.thresholds].format(frames=seen.calibrated)))
    out.append(_row("adapted", f"yes, by {model}" if seen.adapted else "no, not to this domain"))
    out.append(_row("window", seen.window or "none of this segment was full yet"))
    return out


def _score(line: ScoreLine, alpha: float) -> str:
    strange = "strange" if line.p_value < alpha else "usual"
    return _row(
        line.name, f"{line.score:.4g}, strange below {line.bound:.4g}: p {line.p_value:.2g}, {strange}"
    )


def _sample(sample: SampleLine, became: list[RowLine]) -> list[str]:
    if not sample.sequence:
        return [_row("sample", f"lane {sample.lane}: {sample.trouble}")]
    drawn = f", drawn with a chance of {sample.chance:.2%}" if sample.chance else ""
    kind = f", for kind {sample.cluster} of {sample.members} frames" if sample.cluster else ""
    held = "held until the server wants it" if sample.held else "kept to be sent"
    out = [
        _row("sample", f"{sample.sequence} of outbox {sample.outbox[:8]}, lane {sample.lane}{drawn}{kind}"),
        _row("cost", _cost(sample, became)),
        _row(_clock(sample.time_s), held),
    ]
    out += [
        _row(_clock(row.time_s), f"{_ROWS.get(row.fate, row.fate)}{f': {row.why}' if row.why else ''}")
        for row in became
    ]
    if not became or became[-1].fate in _GOES:
        out.append(_row("", "the server has not answered since"))
    return out


def _cost(sample: SampleLine, became: list[RowLine]) -> str:
    """What crossed the link for it: of a held sample that was not wanted, its descriptor alone."""
    codec = "its embedding alone, no picture" if sample.codec == "none" else sample.codec
    size = f"{sample.size_bytes:,} bytes ({codec or 'codec not known'})"
    fates = {row.fate for row in became}
    if sample.held and not fates & {*_GOES, "acknowledged"}:
        told = f"about {sample.told_bytes:,} bytes" if sample.told_bytes else "a descriptor"
        return f"{told}, to tell the server of it; its own {size} did not leave"
    share = f", {sample.cost_bytes / sample.hour_bytes:.2%} of an hour's budget" if sample.hour_bytes else ""
    # What was not acknowledged may have been sent never, or more than once.
    each = "" if "acknowledged" in fates else " each time that it is sent"
    return f"{size}, {sample.cost_bytes:,} on the link{share}{each}"


def _clock(time_s: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(time_s))


def _row(name: str, value: str) -> str:
    indent = " " * _COLUMN
    return textwrap.fill(value, _WIDTH, initial_indent=f"  {name:<{_COLUMN - 2}}", subsequent_indent=indent)
