"""What a serializer of the user's own made of values, so that equal ones are stored once."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from hashlib import blake2b

from rowtrail.content import Encoded

MAX_BYTES = 64 * 1024 * 1024
"""Bounds the memory of a process; what is forgotten is encrypted anew, and stored again."""
DIGEST_BYTES = 16
"""128 bits: two values with one digest do not come by chance."""


class Ciphertexts:
    """Encrypted forms by what is in them: an encrypting serializer gives new bytes each time.

    In memory only, found by a digest whose key nobody else has.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._forms: OrderedDict[bytes, Encoded] = OrderedDict()
        self._bytes = 0

    def find(self, plain: bytes | None) -> Encoded | None:
        """Return the encrypted form of this content, if there is one."""
        if plain is None:
            return None
        digest = self._digest(plain)
        with self._lock:
            found = self._forms.get(digest)
            if found is not None:
                self._forms.move_to_end(digest)
            return found

    def keep(self, plain: bytes | None, form: Encoded) -> None:
        """Remember the encrypted form of this content; the first one stays."""
        if plain is None:
            return
        digest = self._digest(plain)
        with self._lock:
            if digest in self._forms:
                return
            self._forms[digest] = form
            self._bytes += len(form.data or b"")
            while self._bytes > MAX_BYTES:
                _, dropped = self._forms.popitem(last=False)
                self._bytes -= len(dropped.data or b"")

    def _digest(self, plain: bytes) -> bytes:
        return blake2b(plain, key=self._key, digest_size=DIGEST_BYTES).digest()
