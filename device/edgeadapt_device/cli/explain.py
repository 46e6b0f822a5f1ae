"""`edgeadapt device explain`: why frames were flagged, and what it cost."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from edgeadapt_device.cli.common import CONFIG, read_config
from edgeadapt_device.flags.journal import NAME, read_flags
from edgeadapt_device.flags.story import Story, stories, text, unpaid

NOTHING = 1


@click.command(short_help="Why frames were flagged, and what it cost.")
@CONFIG
@click.option(
    "--state-dir", type=click.Path(path_type=Path), help="Look here instead of asking the configuration."
)
@click.option("--frame", type=int, help="Only this frame, by its number in the predictions.")
@click.option("--sample", type=int, help="Only the frame of this sample, by its sequence in the outbox.")
@click.option(
    "--last", type=click.IntRange(1), default=10, show_default=True, help="At most so many, the newest."
)
@click.option("--unknown", is_flag=True, help="Only what stayed strange after the model had adapted.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array for scripts.")
def explain(
    config_path: Path,
    state_dir: Path | None,
    frame: int | None,
    sample: int | None,
    last: int,
    unknown: bool,
    as_json: bool,
) -> None:
    """Say why frames were flagged, and what it cost, from the journal in the state folder.

    \b
    A frame is
      familiar      as known frames are
      informative   known, but the prediction is unsure
      shifted       strange, while the model has not adapted to a new domain yet;
                    it is scored again once it has
      unknown       strange still after that: quarantined by kind, one question each
      unreliable    the outputs are not finite

    \b
    p says how usual such a frame is among known ones; below flagging.alpha it is strange.
    The journal keeps what was stored, and strange frames, at most one a second; the oldest
    lines go first. What the adapt lane held and could not pay for is counted by window.
    The device may run or not.

    \b
      edgeadapt device explain --unknown --last 3    the last three unknown ones
      edgeadapt device explain --frame 1234          one frame of predictions.csv
      edgeadapt device explain --sample 88           what `device outbox list` shows as 88

    Exits with 0 when something was found, with 1 when nothing was, and with 2 on a wrong configuration.
    """
    folder = state_dir if state_dir is not None else Path(read_config(config_path).device.state_dir)
    lines = list(read_flags(folder))
    known = stories(lines)
    found = [s for s in known if _asked_for(s, frame, sample, unknown=unknown)][-last:]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
    elif found:
        dear = "" if unknown or frame is not None or sample is not None else unpaid(lines)
        click.echo("\n\n".join([*(text(story) for story in found), *([dear] if dear else [])]))
    if not found:
        click.echo(_nothing(folder, len(known), frame, sample), err=True)
        if frame is not None and (dear := unpaid(lines, frame)):
            click.echo(f"\n{dear}", err=True)
        raise SystemExit(NOTHING)


def _asked_for(story: Story, frame: int | None, sample: int | None, *, unknown: bool) -> bool:
    if frame is not None and story.frame != frame:
        return False
    if sample is not None and all(line.sequence != sample for line, _ in story.samples):
        return False
    stayed = any(fate.fate in ("quarantined", "asked", "dear", "barred") for fate in story.fates)
    return not unknown or stayed or (story.verdict is not None and story.verdict.verdict == "unknown")


def _nothing(folder: Path, known: int, frame: int | None, sample: int | None) -> str:
    path = folder / NAME
    if not known:
        there = "is empty" if path.exists() else "is not there"
        return f"nothing was flagged yet: {path.absolute()} {there}"
    if frame is not None:
        return f"the journal does not know frame {frame}: it was not flagged, or is older than what is kept"
    if sample is not None:
        return f"the journal does not know sample {sample}: it is of another kind, or older than what is kept"
    return f"none of the {known} frames in the journal is such a one"
