"""Turns a concept's landing URL into one that says which ad led there: UTM parameters added, nothing of it lost."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from contracts.errors import DataError, SettingsError

PLACEHOLDERS = ("platform", "run", "advertiser", "concept_id", "creative_id", "cohort", "size")
"""What a UTM template may name in braces."""


def tagged_url(url: str, template: Mapping[str, str], values: Mapping[str, str], *, where: str) -> str:
    """The URL with the template's parameters appended to its query; what it had stays as it was, to the character.

    A parameter that the URL already carries is left alone. Values are percent-encoded (RFC 3986).

    Args:
        url: http or https, perhaps with a query and a fragment.
        template: parameter name = value, which may name PLACEHOLDERS, such as `{creative_id}`.
        values: of the placeholders.
        where: names the concept in errors.

    Raises:
        DataError: the URL is not http or https, or has no host.
        SettingsError: the template names an unknown placeholder.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not any(c.isspace() for c in url)
    except ValueError:
        good = False
    if not good:
        raise DataError(
            f'"{url}" is not a web address', where=where, fix="Give a landing_url that begins with https:// ."
        )
    known = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    added = [
        f"{quote(name, safe='')}={quote(fill(text, values), safe='')}"
        for name, text in template.items()
        if name not in known
    ]
    query = "&".join([parts.query.rstrip("&"), *added] if parts.query else added)
    return urlunsplit(parts._replace(query=query))


def fill(text: str, values: Mapping[str, str]) -> str:
    """The template's value with its placeholders filled. Raises SettingsError for one that is unknown."""
    try:
        named = [name for _, name, _, _ in Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise SettingsError(f'"{text}": {error}', where="export.utm", fix="Write {{ for a brace.") from error
    unknown = [name for name in named if name not in PLACEHOLDERS]
    if unknown:
        raise SettingsError(
            f'"{{{unknown[0]}}}" is not a placeholder',
            where="export.utm",
            fix="Known are: " + ", ".join(f"{{{name}}}" for name in PLACEHOLDERS) + ".",
        )
    return text.format_map({name: values.get(name, "") for name in PLACEHOLDERS})
