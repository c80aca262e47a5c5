"""What stands for a scope in idempotency keys."""

from __future__ import annotations


def scope_key(name: str) -> str:
    """Return what stands for a scope in idempotency keys: the same in every copy of the file."""
    from hashlib import blake2b  # it loads OpenSSL: not for `import rowtrail`

    return blake2b(name.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()
