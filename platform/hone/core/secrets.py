"""Secrets at rest: AES-256-GCM, bound to their place, so that a copied cell does not decrypt.

The stored text is `v1:<key id>:<base64 of nonce and ciphertext>`. Keys come from the setting
`SECRETS_KEYS` (`id:key`, the first writes, all read); without it a key file in the data folder is
made on first use, readable by its owner only.
"""

from __future__ import annotations

import base64
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from hone.core.errors import UserError

KEY_BYTES = 32
NONCE_BYTES = 12
FILE_KEY_ID = "file"


class SecretUnreadable(UserError):
    """A stored secret cannot be decrypted with the keys of this installation."""


def encrypt(plain: str, *, place: str) -> str:
    """The text to store. `place` says where it belongs, as `org-1|tool-headers|tool-2`."""
    key_id, key = next(iter(_keys().items()))
    nonce = os.urandom(NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, plain.encode(), place.encode())
    return f"v1:{key_id}:{base64.b64encode(nonce + sealed).decode()}"


def decrypt(stored: str, *, place: str) -> str:
    """The secret; raises SecretUnreadable for a missing key, a changed text or another place."""
    version, _, rest = stored.partition(":")
    key_id, _, text = rest.partition(":")
    key = _keys().get(key_id)
    if version != "v1" or key is None:
        raise SecretUnreadable(
            f"A stored secret was written with the key {key_id!r}, which SECRETS_KEYS does not "
            "hold. Add that key again, or enter the secret anew.",
            code="secret_key_missing",
        )
    try:
        sealed = base64.b64decode(text, validate=True)
        return (
            AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place.encode()).decode()
        )
    except (InvalidTag, ValueError) as error:
        raise SecretUnreadable(
            f"A stored secret does not match its key {key_id!r}. Enter the secret anew.",
            code="secret_changed",
        ) from error


def _keys() -> dict[str, bytes]:
    if settings.SECRETS_KEYS:
        return dict(_parse(entry) for entry in settings.SECRETS_KEYS)
    return {FILE_KEY_ID: _file_key(Path(settings.DATA_DIR) / "secrets.key")}


def _parse(entry: str) -> tuple[str, bytes]:
    key_id, _, text = entry.partition(":")
    named = f"The entry {key_id or '(without id)'!r} of SECRETS_KEYS"
    return key_id, _decoded(text if key_id else "", named, "`id:key` with a key")


def _decoded(text: str, named: str, form: str) -> bytes:
    try:
        key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise UserError(
            f"{named} is not {form} of {KEY_BYTES} bytes in URL-safe base64.",
            code="secrets_keys_invalid",
        )
    return key


def _file_key(path: Path) -> bytes:
    """The key in the file, made by whoever comes first; a half-made file is never seen."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made under a name of its own, readable by its owner only, and then linked into place.
        handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(base64.urlsafe_b64encode(os.urandom(KEY_BYTES)))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(fresh, path)
        os.unlink(fresh)
    return _decoded(path.read_text("latin-1").strip(), f"The key file {path}", "a key")
