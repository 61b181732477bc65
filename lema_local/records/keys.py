"""content_key(): what makes two records the same.

A record's id is a hash of the fields that identify it, so that writing it twice is the same as writing it once,
resuming is one anti-join, and two machines that did the same work agree on its name.

    >>> content_key("problem", "gsm8k", "test", "What is 1 + 1?", "2")
    '5b0b5d21-6f2d-9c53-8cf0-6d2c4b2cbd9e'
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path


def content_key(kind: str, *parts: object) -> str:
    """The id of a record: 128 bits of SHA-256 over its kind and identifying parts, written as a UUID.

    Parts are anything JSON can write (None, bool, int, float, str, lists and dicts of them); dicts are ordered by key.
    16 bytes in DuckDB's UUID type join and compress far better than text does.
    """
    return _as_uuid(hashlib.sha256(_text([kind, *parts]).encode("ascii")).hexdigest())


def key_maker(kind: str, *common: object) -> Callable[..., str]:
    """A function of the last parts that gives content_key(kind, *common, *parts), with the common ones hashed once: a
    resumed run makes a million keys that differ in their ends."""
    begun = hashlib.sha256(_text([kind, *common])[:-1].encode("ascii"))

    def key(*parts: object) -> str:
        hasher = begun.copy()
        hasher.update(b"," + _text(parts)[1:].encode("ascii"))
        return _as_uuid(hasher.hexdigest())

    return key


def _text(parts: Sequence[object]) -> str:
    return json.dumps(parts, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _as_uuid(digest: str) -> str:
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
