"""What the tests of the transport are given: a certificate authority of their own."""

from __future__ import annotations

import pytest
from tests.unit.transport import certificates


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> certificates.Authority:
    return certificates.Authority(tmp_path_factory.mktemp("authority"))
