"""Starts TensorZero's embedded gateway with the configuration that is named, and tells its address.

Strategy: its documentation's way to have the gateway in a Python process and to speak to it as to
OpenAI. The gateway is compiled code with threads of its own: Python only waits. It chooses its
own port.
"""

from __future__ import annotations

import signal
import sys

from openai import OpenAI
from tensorzero import patch_openai_client  # type: ignore[import-not-found]

client = patch_openai_client(OpenAI(api_key="x"), config_file=sys.argv[1], async_setup=False)
print(client.base_url, flush=True)
signal.pause()
