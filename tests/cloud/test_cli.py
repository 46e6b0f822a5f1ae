"""`edgeadapt cloud` as a person uses it; `serve` itself is in test_service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from edgeadapt.errors import ConfigError
from edgeadapt_cloud.cli import group
from edgeadapt_cloud.io import keys
from edgeadapt_cloud.io.report import Report
from edgeadapt_cloud.local import LocalCloud
from tests.cloud.fleet import FLEET, REFUSED, DeviceDouble, FixedAdapter, at, first_patch, local


def run(*arguments: str) -> Result:
    """Run a command; errors of ours are raised."""
    return CliRunner().invoke(group, arguments, catch_exceptions=False)


def configured(folder: Path) -> str:
    """A configuration whose state lies in `folder`."""
    path = folder / "cloud.toml"
    path.write_text(
        f'[bundle]\npath = "b"\n[signing]\nkey = "k"\n[cloud]\nfleet = "{FLEET}"\nstate_dir = "."\n'
    )
    return str(path)


def lived(folder: Path) -> tuple[LocalCloud, str]:
    """A service that brought a patch to stable, refused nothing, and quarantined one message."""
    cloud, device = local(FixedAdapter(), folder), DeviceDouble("cam-1")
    cohort, patch = first_patch(cloud, device)
    cloud.deliver(*device.outcome(cohort, patch, "confirmed"), at(3))
    cloud.deliver(f"edgeadapt/v1/{FLEET}/cam-1/up/sample", b"garbage", at(4))
    return cloud, cohort


def test_keygen_prints_the_key_to_pin(tmp_path: Path) -> None:
    result = run("keygen", "--out", str(tmp_path / "keys"))
    assert result.exit_code == 0
    assert result.stdout.strip() == keys.public_hex(keys.load(tmp_path / "keys" / keys.KEY_NAME))
    assert "[trust] keys" in result.stderr
    with pytest.raises(ConfigError, match="already there"):
        run("keygen", "--out", str(tmp_path / "keys"))


def test_status_as_json_tells_everything(tmp_path: Path) -> None:
    cloud, cohort = lived(tmp_path)
    cloud.close()
    result = run("status", "--config", configured(tmp_path), "--json")
    report = msgspec.json.decode(result.stdout, type=Report)
    assert not report.running
    assert (report.samples, report.samples_waiting, report.quarantine) == (8, 0, {"malformed": 1})
    (found,) = report.cohorts
    assert (found.cohort, found.devices, found.samples, found.stable) == (cohort, ("cam-1",), 8, 1)
    (job,) = report.jobs
    assert (job.state, job.serial, job.evidence[0].check) == ("published", 1, "agreement")
    (patch,) = report.patches
    assert (patch.stage, patch.outcomes, patch.canary) == ("stable", {"confirmed": 1}, "cam-1")


def test_status_in_words_names_what_matters(tmp_path: Path) -> None:
    cloud, cohort = lived(tmp_path)
    cloud.close()
    text = run("status", "--config", configured(tmp_path)).stdout
    for word in ("not running", "8 samples", "cam-1", "malformed 1", "Cohorts", "Jobs", "Patches"):
        assert word in text
    assert text.count(cohort) >= 4  # in full at 80 columns, in every table


def test_status_shows_why_a_gate_refused(tmp_path: Path) -> None:
    cloud, device = local(FixedAdapter(verdict=REFUSED), tmp_path), DeviceDouble("cam-1")
    cloud.deliver(*device.signature(), at(1))
    cloud.deliver_many([device.sample() for _ in range(8)], at(2))
    cloud.close()
    result = run("status", "--config", configured(tmp_path), "--json")
    (job,) = msgspec.json.decode(result.stdout, type=Report).jobs
    assert (job.state, job.serial) == ("refused", 0)
    assert job.evidence[0].detail == "worse than statistics only"
    text = run("status", "--config", configured(tmp_path)).stdout
    assert f"refused: {job.evidence[0].check}" in " ".join(text.split())
    assert "worse than statistics only" in text


def test_rollback_is_carried_out_by_the_service(tmp_path: Path) -> None:
    cloud, cohort = lived(tmp_path)
    config = configured(tmp_path)
    assert (
        "ordered back to the base bundle"
        in run("rollback", "--config", config, "--cohort", cohort, "--to-base").stdout
    )
    cloud.tick(at(10))
    stable = cloud.core.release.of(cohort).stable
    assert stable is not None
    assert (stable.serial, dict(stable.values)) == (2, {})
    cloud.close()
    with pytest.raises(ConfigError, match="unknown cohort"):
        run("rollback", "--config", config, "--cohort", "c-nobody-1")


def test_example_config_is_printed() -> None:
    assert "[rollout]" in run("example-config").stdout


@pytest.mark.parametrize("command", ["serve", "keygen", "status", "rollback", "example-config"])
def test_every_command_explains_itself(command: str) -> None:
    text = run(command, "--help").stdout
    assert len(text.splitlines()) > 5


def test_commands_but_serve_import_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import edgeadapt_cloud.cli, edgeadapt_cloud.wiring, edgeadapt_cloud.status, edgeadapt_cloud.local"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


_BUSY = """
import sys, threading, torch
from edgeadapt.cli import main
from edgeadapt.errors import ConfigError
from edgeadapt_cloud import wiring

class Busy:
    at_work = True
    def serve(self, stop):
        threading.Thread(target=self.job, daemon=True).start()
        stop.wait()
        if END:
            raise END
    def job(self):
        weights, images = torch.ones(8, 8, 3, 3, requires_grad=True), torch.ones(16, 8, 28, 28)
        for step in range(10**9):
            torch.autograd.backward(torch.nn.functional.conv2d(images, weights).sum())
            if step == 20:
                print("working", flush=True)

wiring.read_config = lambda path: None
wiring.build_service = lambda config: Busy()
sys.argv = ["edgeadapt", "cloud", "serve"]
main()
"""


@pytest.mark.parametrize(
    ("end", "code", "word"),
    [
        ("None", 0, b"stopped"),
        ("ConfigError('database gone')", 2, b"error: database gone"),
        ("KeyError('odd')", 1, b"Traceback"),
    ],
)
def test_an_end_in_mid_job_is_an_orderly_one(end: str, code: int, word: bytes) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _BUSY.replace("END", end)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"working\n"
        child.terminate()
        _, log = child.communicate(timeout=60)
    assert child.returncode == code, log
    assert word in log
    assert b"terminate called" not in log
