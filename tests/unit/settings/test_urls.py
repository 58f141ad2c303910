"""What opens a database is in nothing that shows its URL."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from holdfast import settings
from holdfast.settings import explain, fields, sources

SECRET = "hunter2"
URL = f"postgresql://holdfast:{SECRET}@db.example:5432/archive?sslmode=require"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "postgresql://holdfast:***@db.example:5432/archive?sslmode=require"),
        (f"redis://:{SECRET}@h:6379/0", "redis://:***@h:6379/0"),
        (f"rediss://u:{SECRET}@h", "rediss://u:***@h"),
        (f"redis://u:a{SECRET}/b@c@h/0", "redis://u:***@h/0"),
        (f"redis://u:?{SECRET}#@h/0", "redis://u:***@h/0"),
        (f"redis://h/0?password={SECRET}&db=1", "redis://h/0?password=***&db=1"),
        (
            f"postgres://h/d?sslmode=x&sslPassword={SECRET}",
            "postgres://h/d?sslmode=x&sslPassword=***",
        ),
        ("redis://user@h/0", "redis://user@h/0"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("sqlite:////data/a:b@c.db", "sqlite:////data/a:b@c.db"),
        ("memory://", "memory://"),
        ("holdfast.db", "holdfast.db"),
        ("", ""),
    ],
)
def test_a_password_is_hidden_and_the_rest_is_told(url: str, shown: str) -> None:
    assert settings.masked(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p@h/d",
        "postgresql://h:5432/d",
        "postgresql://u:p%40@h/d?sslmode=require&application_name=x",
        "postgresql://u@%2Fvar%2Frun/d",
        "postgresql://u:p@[::1]:5432/d",
        "sqlite:///a@b.db",
        "memory://",
    ],
)
def test_an_archive_may_be_named_with_a_password(url: str) -> None:
    assert TypeAdapter(fields.ArchiveUrl).validate_python(url) == url


def test_the_settings_show_no_password() -> None:
    """The value itself is whole: it is what opens the archive."""
    loaded = sources.read(None, {"archive.url": URL}, {})
    assert loaded.settings.archive.url == URL
    rows = {row.name: row.value for row in explain.rows(loaded)}
    assert rows["archive.url"] == settings.masked(URL)
    given = loaded.settings
    for shown in (
        repr(given),
        str(given.archive),
        given.model_dump_json(),
        str(given.model_dump()),
    ):
        assert SECRET not in shown
    assert given.archive.model_dump() == {"url": settings.masked(URL)}
