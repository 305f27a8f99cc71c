"""Signed pictures: C2PA's own reader finds who signed, what made them and IPTC's source type, and any change since."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from PIL import Image

from contracts.errors import SettingsError
from contracts.provenance import COMPOSED, PAINTED, Provenance
from contracts.settings import ExportSettings
from contracts.stamps import is_as_stamped, read_stamp, stamped
from flows import sign_pictures
from flows.command_line import execute
from flows.sign_pictures import Seal, read_manifest
from generators.layout import LAYOUTS
from generators.renditions import SPARE_BYTES
from tests.flows.certificates import Chain, make_chain

c2pa = pytest.importorskip("c2pa", reason="install adloom[provenance]")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return make_chain(tmp_path_factory.mktemp("certificates"))


def settings_of(chain: Chain, **changes: object) -> ExportSettings:
    known = {"certificate": chain.certificate, "private_key": chain.private_key}
    return ExportSettings.model_validate({**known, **changes})


def picture(size: tuple[int, int], kind: str, source: str = COMPOSED) -> tuple[bytes, Provenance]:
    out = io.BytesIO()
    ramp = np.linspace(0, 255, size[0] * size[1] * 3).reshape(size[1], size[0], 3).astype(np.uint8)
    Image.fromarray(ramp).save(out, kind)
    content = stamped(out.getvalue(), Provenance(source, "one", "shoe", "diffusion", 7, "w" * 64, "p" * 16))
    facts = read_stamp(content)
    assert facts is not None
    return content, facts


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("name", list(LAYOUTS))
def test_a_signed_picture_of_any_size_is_read_back_and_the_stamp_and_pixels_stay(
    kind: str, name: str, chain: Chain
) -> None:
    content, facts = picture(LAYOUTS[name].size, kind, PAINTED if name == "4:5" else COMPOSED)
    seal = Seal.open(settings_of(chain))
    assert seal is not None
    signed = seal.sign(content, facts, title="one.png")
    reader = c2pa.Reader(f"image/{kind.lower()}", io.BytesIO(signed))  # C2PA's own, without our code between
    told = json.loads(reader.json())
    active = told["manifests"][told["active_manifest"]]
    (actions,) = [one["data"]["actions"] for one in active["assertions"] if one["label"].startswith("c2pa.actions")]
    assert [(one["action"], one["digitalSourceType"]) for one in actions] == [("c2pa.created", facts.source_type)]
    assert told["validation_state"] == "Valid"
    found = read_manifest(signed, where="x", anchors=chain.root)
    assert found is not None
    assert (found.state, found.signed_by) == ("Trusted", "Adloom tests")
    assert found.facts == facts.as_json()
    assert read_stamp(signed) == facts
    assert is_as_stamped(signed, facts)
    assert len(signed) - len(content) < SPARE_BYTES - 4096, "a time stamp of 4 KB fits too"
    assert read_manifest(content, where="x") is None


def test_a_changed_picture_is_found_out_even_with_a_new_stamp(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, facts = picture((300, 250), "PNG")
    seal = Seal.open(settings_of(chain))
    assert seal is not None
    good, forged = tmp_path / "good.png", tmp_path / "forged.png"
    good.write_bytes(seal.sign(content, facts, title="good.png"))
    forged.write_bytes(stamped(good.read_bytes(), Provenance(COMPOSED, "two", "shoe", "hand", 7, "w" * 64, "p" * 16)))
    assert execute(["provenance", str(good)]) == 0
    assert "Adloom tests (C2PA: valid)" in capsys.readouterr().out
    assert execute(["provenance", str(forged), "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert told["as_stamped"], "the stamp alone cannot tell"
    assert told["c2pa"]["state"] == "Invalid"
    assert told["c2pa"]["facts"]["creative_id"] == "one"


def test_what_cannot_sign_is_one_line_that_says_why(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Seal.open(ExportSettings()) is None
    with pytest.raises(SettingsError, match=r"export\.private_key: is not set"):
        Seal.open(settings_of(chain, private_key=None))
    with pytest.raises(SettingsError, match="cannot be read"):
        Seal.open(settings_of(chain, certificate=tmp_path / "none.pem"))
    content, facts = picture((32, 32), "PNG")
    for chain_of, changes in (
        (make_chain(tmp_path, ExtendedKeyUsageOID.SERVER_AUTH), {}),
        (chain, {"algorithm": "ps256"}),
    ):
        with pytest.raises(SettingsError, match=r"c2pa does not sign with it.*docs/provenance\.md"):
            Seal.open(settings_of(chain_of, **changes)).sign(content, facts, title="x")  # type: ignore[union-attr]
    monkeypatch.setattr(sign_pictures, "library", lambda: None)
    with pytest.raises(SettingsError, match=r"pip install 'adloom\[provenance\]'"):
        Seal.open(settings_of(chain))
    assert read_manifest(content, where="x") is None
