"""A database that is damaged, though SQLite can read it: one clear error, which says what to do."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_cloud.io.report import read_report
from edgeadapt_cloud.io.store import DATABASE_NAME, SqliteStore
from tests.cloud.fleet import DeviceDouble, at, first_patch, local


def lived(folder: Path) -> None:
    """A service that has a cohort, a report, samples, a job, a patch and an outcome."""
    cloud, device = local(folder=folder), DeviceDouble("one")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, patch, "confirmed"), at(3))
    cloud.close()


def damaged(folder: Path, *statements: str) -> None:
    """Change the database behind the service's back."""
    db = sqlite3.connect(folder / DATABASE_NAME)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM cohorts",
        "UPDATE cohorts SET body = x'00'",
        "UPDATE cohorts SET body = 'text'",
        "UPDATE cohorts SET body = substr(body, 1, length(body) - 9)",
        "UPDATE cohorts SET body = CAST(replace(hex(body), '1', '2') AS BLOB)",
        "UPDATE patches SET body = zeroblob(40)",
        "UPDATE jobs SET body = NULL",
        "UPDATE signatures SET vector = x'0000803f00'",
        "UPDATE signatures SET vector = x'0000803f'",
        "UPDATE signatures SET mean = x''",
        "UPDATE signatures SET var = NULL",
        "UPDATE outcomes SET message = x'c1'",
    ],
)
def test_damage_names_the_database_and_what_to_do(tmp_path: Path, statement: str) -> None:
    lived(tmp_path)
    table = statement.split()[1 if statement.startswith("UPDATE") else 2]
    rows = "CREATE TABLE loose AS SELECT * FROM"  # without constraints, so that anything can be put in
    damaged(
        tmp_path,
        f"{rows} {table}",
        f"DROP TABLE {table}",
        f"ALTER TABLE loose RENAME TO {table}",
        statement,
    )
    with pytest.raises(ConfigError) as found:
        local(folder=tmp_path)
    assert str(tmp_path / DATABASE_NAME) in str(found.value)
    assert "restore it from a backup" in str(found.value)


def test_centroid_of_another_length_is_named(tmp_path: Path) -> None:
    lived(tmp_path)
    store = SqliteStore(tmp_path / DATABASE_NAME)
    (row,) = store.snapshot().cohorts
    with store.transaction():
        store.save(replace(row, centroid=row.centroid[:-1]))
    store.close()
    with pytest.raises(ConfigError, match=f"{row.cohort}' does not have 4 features"):
        local(folder=tmp_path)


def test_status_names_the_database_too(tmp_path: Path) -> None:
    lived(tmp_path)
    damaged(tmp_path, "UPDATE jobs SET body = x'00'")
    with pytest.raises(ConfigError) as found:
        read_report(tmp_path)
    assert str(tmp_path / DATABASE_NAME) in str(found.value)
    assert "restore it from a backup" in str(found.value)


@pytest.mark.parametrize("cut", range(0, 160, 7))
def test_row_with_a_changed_byte_is_a_row_or_one_clear_error(tmp_path: Path, cut: int) -> None:
    lived(tmp_path)
    damaged(
        tmp_path,
        f"UPDATE cohorts SET body = CAST(substr(body, 1, {cut}) || x'ff' || substr(body, {cut} + 2) AS BLOB)",
    )
    store = SqliteStore(tmp_path / DATABASE_NAME)
    try:
        store.snapshot()
    except ConfigError:
        pass
    finally:
        store.close()
