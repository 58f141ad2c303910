"""The arguments of a tool call that Vertex AI sends in pieces.

Strategy: each piece says with a JSON path (RFC 9535, names and indexes alone) where it goes;
a text may come in several. The pieces need not come in the order of the JSON text, and no
piece says that an object is complete, so JSON cannot be written while they come: they are
gathered, within bounds, and the object is built when the call is complete.
"""

from __future__ import annotations

import re
from typing import Any

from holdfast.providers.google import wire

MAX_ARGUMENTS = 1 << 20
"""Characters of paths and texts of one call, and `OVERHEAD` for each piece."""

OVERHEAD = 64

MAX_DEPTH = 32
"""Steps of a path."""

Step = str | int
_STEP = re.compile(
    r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d{1,9})\]"
    r"""|\[(?P<quote>['"])(?P<quoted>(?:\\.|(?!(?P=quote)).)*)(?P=quote)\]""",
    re.DOTALL,
)


class Gathered:
    """The pieces of one call. Each method raises ValueError for what makes no sense, in words
    that quote nothing."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[str] | Any] = {}
        self._size = 0

    def add(self, piece: wire.PartialArg) -> int:
        """Takes one more piece, and returns its size in characters."""
        path, text = piece.json_path, piece.string_value
        size = len(path) + len(text or "")
        self._size += size + OVERHEAD
        if self._size > MAX_ARGUMENTS:
            raise ValueError(f"a tool call's arguments have over {MAX_ARGUMENTS} characters")
        if text is not None:
            known = self._pieces.get(path)
            if isinstance(known, list):
                known.append(text)
            else:
                self._pieces[path] = [text]
        elif piece.number_value is not None:
            self._pieces[path] = piece.number_value
        else:
            self._pieces[path] = piece.bool_value  # a null is sent as `nullValue`
        return size

    def built(self) -> dict[str, Any]:
        """The object that the pieces make."""
        root: dict[str, Any] = {}
        for path, value in self._pieces.items():
            _put(root, _steps(path), "".join(value) if isinstance(value, list) else value)
        return root


def _steps(path: str) -> list[Step]:
    """The steps of a path; the first is a name."""
    steps: list[Step] = []
    place = 1
    while place < len(path):
        found = _STEP.match(path, place)
        if found is None or len(steps) == MAX_DEPTH:
            break
        place = found.end()
        if found["index"] is not None:
            steps.append(int(found["index"]))
        elif found["name"] is not None:
            steps.append(found["name"])
        else:
            steps.append(re.sub(r"\\(.)", r"\1", found["quoted"], flags=re.DOTALL))
    if path[:1] != "$" or place < len(path) or not steps or isinstance(steps[0], int):
        raise ValueError("a tool call's argument has a path that cannot be read")
    return steps


def _put(root: dict[str, Any], steps: list[Step], value: Any) -> None:
    """Sets the value, and makes the objects and lists on the way to it."""
    here: Any = root
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        last = following is None
        fresh: Any = value if last else [] if isinstance(following, int) else {}
        if isinstance(step, str) and isinstance(here, dict):
            here[step] = fresh if last else here.get(step, fresh)
        elif isinstance(step, int) and isinstance(here, list) and step <= len(here):
            if step == len(here):
                here.append(fresh)
            elif last:
                here[step] = fresh
        else:
            raise ValueError("a tool call's arguments contradict each other")
        here = here[step]
