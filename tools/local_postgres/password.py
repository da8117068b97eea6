"""The password of a throw-away server."""

import hashlib
import hmac
import secrets
from base64 import b64encode

_BYTES = 24
_SALT_BYTES = 16
# More rounds protect a short password against guesses. This password is random, so they would only slow connects down.
_ROUNDS = 1


def new_password() -> str:
    """Return a random password that needs no quoting in a URL."""
    return secrets.token_urlsafe(_BYTES)


def scram_secret(password: str) -> str:
    """Return the form in which PostgreSQL keeps a password: it proves a login, and does not allow one.

    See RFC 5802 (SCRAM), and "Password Authentication" in PostgreSQL's manual.

    Args:
        password: a password of ASCII letters, digits, ``-`` and ``_``.

    """
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    coded_salt, coded_stored, coded_server = (b64encode(part).decode() for part in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${_ROUNDS}:{coded_salt}${coded_stored}:{coded_server}"
