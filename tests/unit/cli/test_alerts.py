"""`alerts rules`, as it is typed; and what `config check` says of a webhook."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from holdfast.cli import alerts, config

FILE = Path(__file__).resolve().parents[3] / "deploy" / "prometheus" / "rules.yml"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """In a folder and an environment of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {})

    def make(*args: str, toml: str | None = None, **environ: str) -> Result:
        if toml is not None:
            Path("mine.toml").write_text(toml)
        group = config.commands({}) if args[0] == "check" else alerts.commands({})
        return CliRunner().invoke(group, args, env=environ)

    return make


def test_the_rules_of_the_defaults_are_those_that_are_deployed(run: Run) -> None:
    result = run("rules")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == FILE.read_text(encoding="utf-8")


def test_they_have_the_thresholds_of_the_settings(run: Run) -> None:
    toml = '[monitoring]\narchive_lag = "1h"\n'
    said = run("rules", "--config", "mine.toml", toml=toml, HOLDFAST_MONITORING__LATENCY="2s")
    assert "max(holdfast_archive_lag_seconds) > 3600)" in said.stdout
    assert "[5m]))) > 2 and" in said.stdout


def test_a_webhook_that_could_never_be_called_is_told_before_the_start(run: Run) -> None:
    toml = '[monitoring]\nwebhook_url = "https://hooks.example:70000/hush"\n'
    result = run("check", "--config", "mine.toml", toml=toml)
    assert result.exit_code == 1
    assert "monitoring.webhook_url: the url must be" in result.stderr
    assert "hush" not in result.stderr + result.stdout
