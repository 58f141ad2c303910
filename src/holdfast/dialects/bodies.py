"""Request bodies as JSON, in every dialect.

Strategy: what cannot be JSON, or could not be encoded again, is refused before anything is made of
it; a value of a wrong type is refused by the name of its field. A foreign body has fields that
matter here and others, which are kept as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from holdfast import errors

MAX_DEPTH = 100
"""Objects and lists within each other in a body; much deeper ones cannot be encoded again."""

_SQUARE = bytes.maketrans(b"{}", b"[]")
_REST = bytes(set(range(256)) - set(b'"[]{}'))

T = TypeVar("T")

_object = msgspec.json.Decoder(dict[str, Any]).decode


def decoded(body: bytes, decode: Callable[[bytes], T]) -> T:
    """What msgspec's `decode` makes of a body. Raises `errors.MalformedBody`,
    `errors.InvalidField`."""
    if _too_deep(body):
        raise errors.MalformedBody(f"The body nests over {MAX_DEPTH} levels.")
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        if not body.lstrip().startswith(b"{"):
            raise errors.MalformedBody from None
        raise errors.InvalidField(f"{error}") from None
    except UnicodeDecodeError:
        raise errors.MalformedBody("The body is not JSON: it is not UTF-8.") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise errors.MalformedBody(f"The body is not JSON: {error}.") from None


def parted(body: bytes, kind: type[T]) -> tuple[T, dict[str, Any]]:
    """The fields of a body that `kind`, a struct, has, and all others as they are; what is null
    counts as left out. Raises what `decoded` raises."""
    fields = {name: value for name, value in decoded(body, _object).items() if value is not None}
    names = kind.__struct_encode_fields__  # type: ignore[attr-defined]
    known = {name: fields.pop(name) for name in names if name in fields}
    try:
        return msgspec.convert(known, kind), fields
    except msgspec.ValidationError as error:
        raise errors.InvalidField(f"{error}") from None


def _too_deep(body: bytes) -> bool:
    """Whether over `MAX_DEPTH` objects and lists are within each other, if it is JSON. It takes
    less than decoding it: what is looked at one by one is few."""
    left, room = _brackets(body), MAX_DEPTH
    # The innermost pairs go all at once, as long as they are many.
    while len(rest := left.replace(b"[]", b"")) < len(left) * 3 // 4:
        left, room = rest, room - 1
    depth = 0
    for hill in left.split(b"]["):
        up = hill.count(b"[")
        if depth + up > room:
            return True
        depth += 2 * up - len(hill)
    return False


def _brackets(body: bytes) -> bytes:
    """What is left of JSON without all but the brackets outside strings, all of them square."""
    bare = body.replace(rb"\\", b"").replace(rb"\"", b"").translate(_SQUARE, _REST)
    # Two quotes side by side, be it of one string or of two, change nothing for what follows.
    return b"".join(bare.replace(b'""', b"").split(b'"')[::2])
