"""Databases of two devices, written by the releases of their versions, go on with nothing lost."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from edgeadapt_cloud.io.report import read_report
from edgeadapt_cloud.io.schema import SCHEMA_VERSION
from edgeadapt_cloud.io.store import DATABASE_NAME
from edgeadapt_cloud.io.unknown import read_unknown
from tests.cloud.fleet import DeviceDouble, FixedAdapter, at, local

HERE = Path(__file__).parent
# The release of version 3 kept no verdict: what it drew is not known to have been strange.
STRANGE = {3: 0, 4: 1}


def rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    db = sqlite3.connect(path)
    try:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: db.execute(f"SELECT * FROM {name} ORDER BY rowid").fetchall() for name in names}
    finally:
        db.close()


@pytest.mark.parametrize("version", [3, 4])
def test_an_older_database_goes_on_with_nothing_lost(tmp_path: Path, version: int) -> None:
    path = tmp_path / DATABASE_NAME
    shutil.copy(HERE / f"cloud-v{version}.sqlite", path)
    before = rows(path)
    cloud = local(FixedAdapter(), folder=tmp_path)
    (cohort,) = cloud.core.cohorts.rows
    # 12 to learn from, 7 draws of the audit lane, a question with its picture.
    assert cloud.core.pool.count(cohort) == 19 - STRANGE[version]
    draws = cloud.core.pool.draws(cohort, 100)
    assert (len(draws), sum(draw.strange for draw in draws)) == (7, STRANGE[version])
    for table in ("messages", "samples", "signatures", "segments", "wants", "devices"):
        old, new = before[table], rows(path)[table]
        assert old
        assert [row[: len(old[0])] for row in new] == old, table

    one = DeviceDouble("one", sequence=500)
    cloud.deliver(*one.sample(lane="audit", chance=0.2, verdict="unknown", altered=True), at(200))
    assert cloud.core.pool.draws(cohort, 100)[-1].strange
    cloud.close()
    report = read_report(tmp_path)
    assert (report.samples, report.questions, report.questions_coming) == (21, 1, 1)
    assert {thing.picture for thing in read_unknown(tmp_path)} == {"here", "coming"}
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    db.close()
