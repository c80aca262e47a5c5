"""Values that a serializer of the user's own has sealed, so that equal ones are stored once."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from hashlib import blake2b

from rowtrail.content import Encoded

MAX_SEALED_BYTES = 64 * 1024 * 1024
DIGEST_BYTES = 16


class Seals:
    """Sealed forms by what is in them; an encrypting serializer gives new bytes each time.

    Kept in memory only, found by a digest whose key nobody else has.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._sealed: OrderedDict[bytes, Encoded] = OrderedDict()
        self._bytes = 0

    def find(self, opened: bytes | None) -> Encoded | None:
        """Return the sealed form of this content, if there is one."""
        if opened is None:
            return None
        digest = self._digest(opened)
        with self._lock:
            found = self._sealed.get(digest)
            if found is not None:
                self._sealed.move_to_end(digest)
            return found

    def keep(self, opened: bytes | None, sealed: Encoded) -> None:
        """Remember the sealed form of this content; the first one stays."""
        if opened is None:
            return
        digest = self._digest(opened)
        with self._lock:
            if digest in self._sealed:
                return
            self._sealed[digest] = sealed
            self._bytes += len(sealed.data or b"")
            while self._bytes > MAX_SEALED_BYTES:
                _, dropped = self._sealed.popitem(last=False)
                self._bytes -= len(dropped.data or b"")

    def _digest(self, opened: bytes) -> bytes:
        return blake2b(opened, key=self._key, digest_size=DIGEST_BYTES).digest()
