"""The database's tables (schema version 5), and how those of an older version become them.

Rows of devices are only ever inserted; see `io.store`.
"""

SCHEMA_VERSION = 5

TABLES = """
CREATE TABLE messages (
    arrival INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL, outbox TEXT NOT NULL, sequence INTEGER NOT NULL,
    kind TEXT NOT NULL, received_s REAL NOT NULL,
    UNIQUE (device, outbox, sequence)
);
CREATE TABLE samples (
    arrival INTEGER PRIMARY KEY REFERENCES messages (arrival),
    segment INTEGER NOT NULL, lane TEXT NOT NULL, codec TEXT NOT NULL, sha256 TEXT NOT NULL,
    entropy REAL NOT NULL, predicted INTEGER NOT NULL, generation TEXT NOT NULL, captured_s REAL NOT NULL,
    verdict TEXT NOT NULL DEFAULT 'informative', chance REAL NOT NULL DEFAULT 0,
    altered INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE signatures (
    device TEXT NOT NULL, outbox TEXT NOT NULL, segment INTEGER NOT NULL,
    arrival INTEGER NOT NULL, sequence INTEGER NOT NULL, frames INTEGER NOT NULL,
    vector BLOB NOT NULL, mean BLOB NOT NULL, var BLOB NOT NULL, drift REAL NOT NULL,
    PRIMARY KEY (device, outbox, segment)
);
CREATE TABLE outcomes (
    arrival INTEGER PRIMARY KEY REFERENCES messages (arrival),
    cohort TEXT NOT NULL, serial INTEGER NOT NULL, patch TEXT NOT NULL, state TEXT NOT NULL,
    message BLOB NOT NULL
);
CREATE TABLE devices (device TEXT PRIMARY KEY, seen_s REAL NOT NULL, body BLOB NOT NULL);
CREATE TABLE cohorts (cohort TEXT PRIMARY KEY, serial INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE segments (
    device TEXT NOT NULL, outbox TEXT NOT NULL, segment INTEGER NOT NULL, cohort TEXT NOT NULL,
    PRIMARY KEY (device, outbox, segment)
);
CREATE TABLE jobs (job INTEGER PRIMARY KEY, cohort TEXT NOT NULL, state TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE patches (
    cohort TEXT NOT NULL, serial INTEGER NOT NULL, digest TEXT NOT NULL, stage TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (cohort, serial)
);
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received_s REAL NOT NULL, topic TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE starts (epoch INTEGER PRIMARY KEY AUTOINCREMENT, started_s REAL NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY AUTOINCREMENT, cohort TEXT NOT NULL, to_base INTEGER NOT NULL);
CREATE TABLE wants (
    device TEXT NOT NULL, outbox TEXT NOT NULL, sample INTEGER NOT NULL,
    thing INTEGER NOT NULL, lane TEXT NOT NULL, state TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (device, outbox, sample)
);
"""

# From each older version to the next.
MIGRATIONS = {
    1: """
CREATE TABLE starts (epoch INTEGER PRIMARY KEY AUTOINCREMENT, started_s REAL NOT NULL);
UPDATE samples SET lane = 'audit' WHERE lane = 'uniform';
""",
    2: """
CREATE TABLE wants (
    device TEXT NOT NULL, outbox TEXT NOT NULL, sample INTEGER NOT NULL,
    thing INTEGER NOT NULL, lane TEXT NOT NULL, state TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (device, outbox, sample)
);
""",
    3: """
ALTER TABLE samples ADD COLUMN verdict TEXT NOT NULL DEFAULT 'informative';
ALTER TABLE samples ADD COLUMN chance REAL NOT NULL DEFAULT 0;
""",
    4: "ALTER TABLE samples ADD COLUMN altered INTEGER NOT NULL DEFAULT 0;",
}
