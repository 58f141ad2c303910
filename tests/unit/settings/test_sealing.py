"""The table of keys: one ring, in one place, and shown nowhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast import errors
from holdfast.settings import Settings, sources

Read = Callable[..., Settings]
RING = '{"version": 1, "keys": "hush"}'


def refusal(toml: str, read: Read) -> str:
    with pytest.raises(errors.SettingsError) as refused:
        read(toml)
    assert "hush" not in refused.value.message
    return refused.value.message


def test_a_ring_is_in_one_place(read: Read) -> None:
    assert read('[sealing]\nkeys = "/run/ring"\n').sealing.keys == "/run/ring"
    assert read('[sealing]\nkeys = ""\nring = ""\n') == Settings()
    said = refusal("[sealing]\nkeys = '/run/ring'\nring = '''" + RING + "'''\n", read)
    assert said == "sealing: keys and ring are both given: a key ring is in one place"


def test_a_ring_is_shown_nowhere(read: Read) -> None:
    made = read("[sealing]\nring = '" + RING + "'\n")
    assert made.sealing.ring is not None
    assert made.sealing.ring.get_secret_value() == RING
    for text in (repr(made), str(made.model_dump()), made.model_dump_json()):
        assert "hush" not in text


@pytest.mark.parametrize("key", ["keys", "ring"])
def test_what_is_put_in_the_wrong_place_is_not_repeated(read: Read, key: str) -> None:
    assert "the value is not accepted" in refusal(f"[sealing]\n{key} = ['hush']\n", read)


def test_a_key_lasts_for_ever_or_ten_minutes(read: Read) -> None:
    for said in ("0", "10m", "90d"):
        assert read(f'[sealing]\nrotate_every = "{said}"\n').sealing.rotate_every in (
            0,
            600,
            90 * 86400,
        )
    said = refusal('[sealing]\nrotate_every = "9m"\n', read)
    assert said == "sealing: rotate_every (9m) is 0 or at least 10m"


def test_the_ring_comes_from_the_environment() -> None:
    made = sources.load(None, {}, {"HOLDFAST_SEALING__RING": RING})
    assert made.sealing.ring is not None
    assert made.sealing.ring.get_secret_value() == RING
