"""Turns user ids into keyed hashes that nobody without the key can turn back."""

from __future__ import annotations

import hashlib
import hmac
import threading

import polars as pl

from contracts.errors import SettingsError
from contracts.tables import EVERYONE

MIN_KEY_BYTES = 16
_PREFIX = "u-"


class Pseudonyms:
    """BLAKE2b (RFC 7693) of a user id under a secret key, 128 bits, hexadecimal, after "u-".

    The same id under the same key is the same pseudonym, in every table and on every day. Those met before are kept
    in memory, so that each id is hashed once. Threads may share one.
    """

    def __init__(self, key: bytes) -> None:
        """Raises SettingsError for a key of fewer than 16 bytes."""
        if len(key) < MIN_KEY_BYTES:
            raise SettingsError(
                f"the key has {len(key)} bytes, fewer than {MIN_KEY_BYTES}",
                where="pseudonyms",
                fix="Give a random key, such as 32 bytes from `openssl rand -hex 32`.",
            )
        self._key = hashlib.blake2b(key, person=b"adloom users").digest()
        self._keyed = hashlib.blake2b(key=self._key, digest_size=16)
        self._lock = threading.Lock()
        self._known = pl.DataFrame(schema={"user_id": pl.String, "pseudonym": pl.String})

    @property
    def fingerprint(self) -> str:
        """Tells two keys apart and gives neither away."""
        return hmac.digest(self._key, b"fingerprint", "sha256").hex()[:16]

    def of(self, user: str) -> str:
        """The pseudonym of one user; the name of everyone and the empty id stay as they are."""
        if user in ("", EVERYONE):
            return user
        digest = self._keyed.copy()
        digest.update(user.encode())
        return _PREFIX + digest.hexdigest()

    def replace(self, users: pl.Series) -> pl.Series:
        """(N,) ids as (N,) pseudonyms, null where the id is null."""
        frame, known = users.alias("user_id").to_frame(), self._known
        made = frame.join(known, on="user_id", how="left", maintain_order="left")["pseudonym"]
        places = (made.is_null() & users.is_not_null()).arg_true()
        if len(places):
            unmet = frame[places]
            fresh = self._learn(unmet.unique())
            made = made.scatter(places, unmet.join(fresh, on="user_id", how="left", maintain_order="left")["pseudonym"])
        return made.alias(users.name)

    def _learn(self, users: pl.DataFrame) -> pl.DataFrame:
        """The pseudonyms of some users, kept from now on; another thread may have met some of them meanwhile."""
        with self._lock:
            new = users.join(self._known, on="user_id", how="anti")
            hashed = pl.Series("pseudonym", [self.of(user) for user in new["user_id"].to_list()], dtype=pl.String)
            self._known = pl.concat([self._known, new.with_columns(hashed)])
            return users.join(self._known, on="user_id", how="left")
