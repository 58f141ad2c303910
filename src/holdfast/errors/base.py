"""The root of the tree, and how a traceback becomes text."""

from __future__ import annotations

import re
import traceback
from typing import Any


class HoldfastError(Exception):
    """Something went wrong in Holdfast."""

    code: str = "internal"
    status: int = 500
    retryable: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        """`retry_after` is a floor in seconds for the next try, where one is known."""
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.retry_after = retry_after
        super().__init__(self.message)


def trace(error: BaseException | None) -> str:
    """The traceback as text for a log line: places and messages, never the values of
    variables, which may be keys, prompts or answers."""
    return "" if error is None else "".join(traceback.format_exception(error))
