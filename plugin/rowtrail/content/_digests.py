"""Keyed hashes: by which values are found, and by which damage to what was stored is found out.

The key is a secret of the file: whoever writes a tool's output cannot compute two values with one
digest.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from rowtrail.content._codec import Encoded

if TYPE_CHECKING:
    from hashlib import blake2b

DIGEST_BYTES = 16
"""128 bits, keyed: two values with one digest come neither by chance nor by intent."""
SEAL_BYTES = 8
"""64 bits, keyed: finds damage, and a forger has one guess for each result."""


@functools.cache
def hasher() -> type[blake2b]:
    """Return BLAKE2b, once: it loads OpenSSL, which is not for `import rowtrail`."""
    from hashlib import blake2b

    return blake2b


def digest_of(key: bytes, identity: bytes) -> bytes:
    """Return the content digest of an encoded value."""
    return hasher()(identity, key=key, digest_size=DIGEST_BYTES).digest()


def seal_of(key: bytes, encoded: Encoded, fingerprint: bytes, n: int) -> bytes:
    """Return what ties a result to its step: checked when the result is replayed."""
    parts = (fingerprint, str(n).encode(), encoded.type.encode(), _stored_bytes(encoded))
    return hasher()(b"\0".join(parts), key=key, digest_size=SEAL_BYTES).digest()


def is_genuine(encoded: Encoded, digest: bytes | None, key: bytes) -> bool:
    """Return whether a value is still the one that was stored: its digest is that of the value.

    Of a value that has a form beside JSON, the JSON that the views show is not in the digest.
    """
    if digest is None:
        return True
    value = b"\0" + _stored_bytes(encoded)
    if digest_of(key, encoded.type.encode() + value) == digest:
        return True
    return encoded.data is None and digest_of(key, b"shown" + value) == digest


def is_for_show(encoded: Encoded, digest: bytes | None, key: bytes) -> bool:
    """Return whether a value was stored for people only: what `encode_shown` makes of one without
    a form is never read back.
    """
    if encoded.data is not None or digest is None:
        return False
    return digest_of(key, b"shown\0" + _stored_bytes(encoded)) == digest


def _stored_bytes(encoded: Encoded) -> bytes:
    return encoded.data if encoded.data is not None else (encoded.text or "").encode()
