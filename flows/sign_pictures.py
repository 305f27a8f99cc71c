"""Turns a stamped picture and a certificate into the same picture with a signed C2PA manifest in it, and reads it back.

Only the export signs: a signature holds random numbers and mostly a time, so signed bytes differ from export to export.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from contracts.errors import DataError, SettingsError
from contracts.provenance import CREATOR_TOOL, Provenance
from contracts.settings import ExportSettings

FACTS = "adloom.provenance"
"""Label of the assertion that holds what the stamp says."""

_MIME = {b"\x89PN": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_INSTALL = "Install it: pip install 'adloom[provenance]'"


@dataclass(frozen=True)
class Manifest:
    """What a signed picture says.

    Attributes:
        state: "Valid"; "Trusted", where the certificate's root is known too; "Invalid": the file was changed afterwards.
        signed_by: organisation of the certificate.
        actions: of `c2pa.actions`, each with its `action` and `digitalSourceType`.
        facts: what the stamp said when it was signed.
    """

    state: str
    signed_by: str
    actions: tuple[dict[str, Any], ...]
    facts: dict[str, Any]


class Seal:
    """Signs pictures with one certificate."""

    def __init__(self, signer: Any, certificate: Path) -> None:
        self._signer, self._certificate = signer, certificate

    @classmethod
    def open(cls, settings: ExportSettings) -> Seal | None:
        """The seal that the settings ask for; None: no certificate is set.

        Raises:
            SettingsError: adloom[provenance] is not installed, a file cannot be read, or they are no certificate and key.
        """
        if settings.certificate is None or settings.private_key is None:
            if settings.certificate is not settings.private_key:
                lacks = "export.certificate" if settings.certificate is None else "export.private_key"
                raise SettingsError("is not set, the other one is", where=lacks, fix="Signing needs both.")
            return None
        c2pa = library()
        if c2pa is None:
            raise SettingsError("signing needs c2pa-python", where="export.certificate", fix=f"{_INSTALL}.")
        chain, key = (
            _read(settings.certificate, "export.certificate"),
            _read(settings.private_key, "export.private_key"),
        )
        try:
            signer = c2pa.Signer.from_info(
                c2pa.C2paSignerInfo(settings.algorithm, chain, key, settings.time_authority or None)
            )
        except (c2pa.C2paError, ValueError) as error:
            raise _refused(settings.certificate, error) from error
        return cls(signer, settings.certificate)

    def sign(self, content: bytes, facts: Provenance, *, title: str) -> bytes:
        """The picture with a manifest: what made it, which digital source type, what the stamp says.

        Raises:
            SettingsError: c2pa takes no such certificate (one that signed itself, or is not meant for this), or the time
                authority does not answer.
        """
        c2pa, kind = library(), _kind(content, title)
        assert c2pa is not None, "opened with it"
        maker = {"name": CREATOR_TOOL, "version": metadata.version("adloom")}
        created = {"action": "c2pa.created", "digitalSourceType": facts.source_type, "softwareAgent": maker}
        manifest = {
            "claim_generator_info": [maker],
            "title": title,
            "format": kind,
            "assertions": [
                {"label": "c2pa.actions", "data": {"actions": [created]}},
                {"label": FACTS, "data": facts.as_json()},
            ],
        }
        out = io.BytesIO()
        try:
            plain = c2pa.Context.from_dict({"builder": {"thumbnail": {"enabled": False}}})
            c2pa.Builder(manifest, plain).sign(self._signer, kind, io.BytesIO(content), out)
        except c2pa.C2paError as error:
            raise _refused(self._certificate, error) from error
        return out.getvalue()


def read_manifest(content: bytes, *, where: str, anchors: str = "") -> Manifest | None:
    """What a file's C2PA manifest says, checked; None: it has none, or adloom[provenance] is not installed.

    Args:
        content: of a PNG or JPEG file.
        where: names it in errors.
        anchors: certificates (PEM) that are trusted as roots.

    Raises:
        DataError: the manifest is damaged beyond reading.
    """
    c2pa = library()
    if c2pa is None:
        return None
    kind = _kind(content, where)
    try:
        trust = c2pa.Context.from_dict({"trust": {"trust_anchors": anchors}} if anchors else {})
        reader = c2pa.Reader.try_create(kind, io.BytesIO(content), context=trust)
        if reader is None:
            return None
        told = json.loads(reader.json())
    except (c2pa.C2paError, ValueError) as error:
        fix = "Take the file from the export again."
        raise DataError(f"holds a C2PA manifest that cannot be read ({error})", where=where, fix=fix) from error
    active = told["manifests"][told["active_manifest"]]
    data = {one["label"]: one["data"] for one in active.get("assertions", ())}
    actions = next((value["actions"] for label, value in data.items() if label.startswith("c2pa.actions")), ())
    signed_by = active.get("signature_info", {}).get("issuer", "")
    return Manifest(told.get("validation_state", "Invalid"), signed_by, tuple(actions), data.get(FACTS, {}))


def library() -> Any:
    """c2pa-python; None where adloom[provenance] is not installed."""
    try:
        import c2pa  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return c2pa


def _kind(content: bytes, where: str) -> str:
    kind = _MIME.get(content[:3])
    if kind is None:
        raise DataError("is neither PNG nor JPEG", where=where, fix="Only these two carry provenance here.")
    return kind


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        fix = f"Mend {setting} in the settings."
        raise SettingsError(f"cannot be read ({error.strerror})", where=str(path), fix=fix) from error


def _refused(certificate: Path, error: Exception) -> SettingsError:
    fix = "Give the chain as PEM, the signer's own first, its key, and the key's algorithm; docs/provenance.md says what they must be."
    return SettingsError(f"c2pa does not sign with it ({error})", where=str(certificate), fix=fix)
