"""The captions in an XMP packet, and its rating."""

from __future__ import annotations

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_XML_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_NAMES = {
    "{http://purl.org/dc/elements/1.1/}description": "dc:description",
    "{http://purl.org/dc/elements/1.1/}title": "dc:title",
    "{http://purl.org/dc/elements/1.1/}subject": "dc:subject",
    "{http://purl.org/dc/elements/1.1/}creator": "dc:creator",
    "{http://ns.adobe.com/exif/1.0/}UserComment": "exif:UserComment",
    "{http://ns.adobe.com/photoshop/1.0/}Headline": "photoshop:Headline",
    "{http://ns.adobe.com/tiff/1.0/}ImageDescription": "tiff:ImageDescription",
    "{http://ns.adobe.com/xap/1.0/}CreatorTool": "xmp:CreatorTool",
    "{http://ns.adobe.com/xap/1.0/}Rating": "xmp:Rating",
    "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}AIPromptInformation": "Iptc4xmpExt:AIPromptInformation",
    "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}AISystemUsed": "Iptc4xmpExt:AISystemUsed",
    "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType": "Iptc4xmpExt:DigitalSourceType",
}
_MAX_BYTES = 2**20  # of a packet; larger ones hold an editor's history


def xmp_texts(packet: bytes) -> dict[str, str]:
    """Texts of `packet` (`Pieces.raw["xmp"]`) by name, such as `dc:description`; empty when it can't be read.

    Of several languages the default one counts; several values are joined with ", ". Entities are refused, so no text
    can unfold into more than the packet holds.
    """
    found: dict[str, str] = {}
    for part in packet.split(b"\0", 2)[:2] if b"\0<" in packet else (packet,):
        if len(part) <= _MAX_BYTES:
            _read(part, found)
    return found


def xmp_rating(packet: bytes) -> int | None:
    """The rating that a person gave in another program: 1 to 5 stars, -1 rejected; None for 0, which those write for unrated."""
    if b"Rating" not in packet:  # most packets are captions alone
        return None
    try:
        rating = float(xmp_texts(packet).get("xmp:Rating", ""))
    except ValueError:
        return None
    return int(rating) if rating in (-1, 1, 2, 3, 4, 5) else None


def _read(packet: bytes, found: dict[str, str]) -> None:
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(packet.strip(b"\0 \r\n\t"), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError, AttributeError):
        return
    description = next(root.iter(_RDF + "RDF"), root)
    for element in description.findall(_RDF + "Description"):
        for name, text in element.attrib.items():
            if (key := _NAMES.get(name)) and text.strip():
                found.setdefault(key, text)
        for child in element:
            if (key := _NAMES.get(child.tag)) and key not in found and (text := _text(child)):
                found.setdefault(key, text)


def _text(element: object) -> str:
    """A property's text: its own, its default alternative, or all entries of its list."""
    entries = list(element.iter(_RDF + "li"))  # type: ignore[attr-defined]
    default = [entry for entry in entries if entry.get(_XML_LANGUAGE) == "x-default"]
    alternative = any(True for _ in element.iter(_RDF + "Alt"))  # type: ignore[attr-defined]
    wanted = default[:1] or (entries[:1] if alternative else entries) or [element]
    return ", ".join(text for entry in wanted if (text := "".join(entry.itertext()).strip()))
