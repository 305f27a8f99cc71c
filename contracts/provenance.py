"""Turns how a picture was made into an XMP packet that any reader of picture metadata understands, and back.

The packet holds IPTC's digital source type (IPTC Photo Metadata Standard, `Iptc4xmpExt:DigitalSourceType`) and, in a
namespace of our own, what it takes to draw the picture again, and a hash of its pixels.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from contracts.errors import DataError

PAINTED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's word for a picture that a trained model made."""

COMPOSED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's word for a picture put together of other media and what a trained model painted around it (inpainting)."""

CREATOR_TOOL = "Adloom"
NAMESPACE = "urn:adloom:provenance:1:"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
_END = '<?xpacket end="r"?>'
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UNKNOWN = "\ufffd"
_FIX = "Draw it again, or take the file from the run."


def source_type(has_product: bool) -> str:
    """COMPOSED where a product's picture stands in it, PAINTED where a model painted all but the type."""
    return COMPOSED if has_product else PAINTED


@dataclass(frozen=True)
class Provenance:
    """How a picture was made.

    Attributes:
        source_type: IPTC's digital source type, an address.
        creative_id, concept_id, generator, seed: as in the table `creatives`.
        model_hash: sha256 of the weights that painted it, `weights_hash` there.
        policy_hash: of the policy that chose what was to be drawn, as in the table `slates`.
        label: words of the visible label on it; empty: it carries none.
        pixels: `stamps.pixel_hash` of the picture; empty: not stamped yet.
    """

    source_type: str
    creative_id: str
    concept_id: str
    generator: str
    seed: int
    model_hash: str
    policy_hash: str
    label: str = ""
    pixels: str = ""

    def as_json(self) -> dict[str, str | int]:
        """By name."""
        return asdict(self)


def to_xmp(facts: Provenance) -> bytes:
    """The packet, UTF-8; the same facts give the same bytes."""
    said = {
        "xmp:CreatorTool": CREATOR_TOOL,
        "Iptc4xmpExt:DigitalSourceType": facts.source_type,
        **{f"adloom:{name}": str(value) for name, value in facts.as_json().items() if name != "source_type"},
    }
    attributes = "".join(f"\n   {name}={quoteattr(_NOT_XML.sub(_UNKNOWN, value))}" for name, value in said.items())
    return (
        f'{_BEGIN}\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n <rdf:RDF xmlns:rdf="{_RDF}">\n'
        f'  <rdf:Description rdf:about="" xmlns:xmp="{_XMP}" xmlns:Iptc4xmpExt="{_IPTC}" xmlns:adloom="{NAMESPACE}"'
        f"{attributes}/>\n </rdf:RDF>\n</x:xmpmeta>\n{_END}"
    ).encode()


def from_xmp(packet: bytes, *, where: str) -> Provenance | None:
    """The facts; None where the packet is somebody else's and says nothing of ours.

    Properties may be attributes or elements, as other tools write them.

    Raises:
        DataError: the packet is no XML, declares entities, or lacks some of what we wrote; `where` names the file.
    """
    if b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:  # XMP needs none; entities are how XML is made to explode
        raise DataError("holds XMP with declarations, which none needs", where=where, fix=_FIX)
    try:
        root = ElementTree.fromstring(packet.decode("utf-8").strip("\x00 \n\r\t\ufeff"))
    except (ElementTree.ParseError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"holds XMP that cannot be read ({error})", where=where, fix=_FIX) from error
    said: dict[str, str] = {}
    for described in root.iter(f"{{{_RDF}}}Description"):
        said |= described.attrib
        said |= {child.tag: child.text or "" for child in described}
    if not any(name.startswith(f"{{{NAMESPACE}}}") for name in said):
        return None
    known = {field.name: said.get(f"{{{NAMESPACE}}}{field.name}") for field in fields(Provenance)}
    known["source_type"] = said.get(f"{{{_IPTC}}}DigitalSourceType")
    missing = [name for name, value in known.items() if value is None]
    seed = known.pop("seed") or ""
    if missing or not (seed.isdecimal() and len(seed) <= 20):
        what = f"does not say its {', '.join(missing)}" if missing else f'has no number as its seed: "{seed[:40]}"'
        raise DataError(what, where=where, fix=_FIX)
    return Provenance(seed=int(seed), **{name: value or "" for name, value in known.items()})
