"""`serve --encrypt`, before anything is served."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from holdfast import errors, settings
from holdfast.cli import encrypting
from holdfast.sealing import ring, sources


def configured(**sealing: object) -> settings.Settings:
    return settings.Settings.model_validate({"sealing": sealing})


def test_the_ring_is_made_once_and_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made = encrypting.turned_on(configured(on=False))
    assert (made.sealing.keys, made.sealing.on) == (encrypting.RING, True)
    path = tmp_path / encrypting.RING
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before, said = path.read_bytes(), capsys.readouterr().err
    assert said.startswith(f"A key ring was made in {path}. Keep it apart from the data")
    assert f"HOLDFAST_SEALING__KEYS={path}, or" in said
    assert said.count("\n") == 1
    assert base64.b64encode(ring.parse(before).keys[0].secret).decode() not in said
    assert encrypting.turned_on(configured()) == made
    assert path.read_bytes() == before
    assert capsys.readouterr().err == ""


def test_a_ring_that_the_settings_name_is_used(tmp_path: Path) -> None:
    path = tmp_path / "own"
    assert encrypting.turned_on(configured(keys=str(path))).sealing.keys == str(path)
    text = path.read_text()
    given = encrypting.turned_on(configured(ring=text, on=False)).sealing
    assert (given.keys, given.on) == (None, True)
    assert sources.named(given.keys, text) is not None


def test_where_no_ring_can_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(errors.SettingsError, match="cannot be written: No such file"):
        encrypting.turned_on(configured(keys=str(tmp_path / "none" / "ring")))
