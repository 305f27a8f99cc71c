"""Pseudonyms: the same for the same id and key, on every thread; the key and the id cannot be told from them."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from contracts.errors import SettingsError
from sources.pseudonyms import Pseudonyms

KEY = b"0123456789abcdef0123456789abcdef"


def test_a_pseudonym_is_keyed_blake2b() -> None:
    key = hashlib.blake2b(KEY, person=b"adloom users").digest()
    expected = "u-" + hashlib.blake2b(b"anna", key=key, digest_size=16).hexdigest()
    assert Pseudonyms(KEY).of("anna") == expected
    assert Pseudonyms(KEY[::-1]).of("anna") != expected


def test_a_column_is_the_same_as_one_by_one_and_keeps_gaps() -> None:
    users = pl.Series("who", ["anna", None, "*", "", "bob", "anna"])
    one_by_one = [None if user is None else Pseudonyms(KEY).of(user) for user in users]
    made = Pseudonyms(KEY).replace(users)
    assert made.name == "who"
    assert made.to_list() == one_by_one
    assert made[2] == "*"


def test_threads_share_one_without_a_row_too_many() -> None:
    users = pl.Series([f"user-{number % 700}" for number in range(3000)])
    expected = Pseudonyms(KEY).replace(users)
    for _ in range(20):
        shared = Pseudonyms(KEY)
        with ThreadPoolExecutor(8) as pool:
            for made in pool.map(shared.replace, [users] * 8):
                assert made.equals(expected)


def test_a_short_key_is_refused_and_a_fingerprint_tells_keys_apart() -> None:
    with pytest.raises(SettingsError, match="15 bytes, fewer than 16"):
        Pseudonyms(b"x" * 15)
    assert Pseudonyms(KEY).fingerprint != Pseudonyms(KEY[::-1]).fingerprint
    assert Pseudonyms(KEY).fingerprint not in KEY.decode()
