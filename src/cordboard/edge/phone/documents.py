"""The documents with a carrier's instructions for a call.

XML is made by ``xml.etree``, which escapes every value.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import ClassVar, Final, Protocol
from xml.etree import ElementTree as ET

XML: Final = "text/xml"
JSON: Final = "application/json"
HOLD_S: Final = 3600
"""Seconds of one pause on hold, after which the carrier sends a request again. A shorter pause costs more requests."""

PARAMETER_MAX_CHARS: Final = 500
"""Characters of a parameter's name and value together, by Twilio's documentation of ``<Parameter>``."""

# XML 1.0, production 2: the characters that a document may not contain, escaped or not.
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Document:
    """An answer to a carrier.

    Attributes:
        content: The document.
        media_type: Its media type.
        status: The HTTP status.
    """

    content: bytes
    media_type: str
    status: int = HTTPStatus.OK


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What a document needs that opens a stream.

    Attributes:
        stream_url: The URL of the stream (``wss://``); it contains a token.
        again_url: The URL that the carrier requests when the stream has ended.
        status_url: The URL to which the carrier reports the state of the stream.
        parameters: Parameters for the bot, where the carrier passes such on.
    """

    stream_url: str
    again_url: str
    status_url: str
    parameters: Mapping[str, str] = field(default_factory=dict)


class Documents(Protocol):
    """The documents of one carrier."""

    def connect(self, plan: StreamPlan) -> Document:
        """Return the document that opens the stream of `plan`."""
        ...

    def busy(self) -> Document:
        """Return the document that refuses a call as busy."""
        ...

    def hangup(self) -> Document:
        """Return the document that ends a call."""
        ...

    def hold(self, again_url: str) -> Document:
        """Return the document that keeps a call without a stream, and requests `again_url` later."""
        ...

    def redirect(self, url: str) -> Document:
        """Return the document that makes the carrier ask `url`, the user's own."""
        ...


class XmlDocuments:
    """What TwiML and Plivo XML have in common.

    Attributes:
        pause: The element that keeps a call silent for a number of seconds.
    """

    pause: ClassVar[str]

    def hangup(self) -> Document:
        """Return the document that ends a call."""
        return _verb("Hangup")

    def hold(self, again_url: str) -> Document:
        """Return the document that keeps a call for an hour, then requests `again_url`."""
        response = ET.Element("Response")
        ET.SubElement(response, self.pause, {"length": str(HOLD_S)})
        _add_text(response, "Redirect", again_url)
        return _xml(response)

    def redirect(self, url: str) -> Document:
        """Return the document that makes the carrier ask `url`."""
        response = ET.Element("Response")
        _add_text(response, "Redirect", url)
        return _xml(response)


@dataclass(frozen=True, slots=True)
class TwimlDocuments(XmlDocuments):
    """TwiML, and TeXML of Telnyx, which is nearly the same.

    Attributes:
        stream_attributes: Further attributes of ``<Stream>``.
        has_action: Whether ``<Connect>`` has an ``action``; without one the ``<Redirect>`` behind it counts.
        has_parameters: Whether ``<Stream>`` passes parameters on.
    """

    pause: ClassVar[str] = "Pause"
    stream_attributes: Mapping[str, str] = field(default_factory=dict)
    has_action: bool = True
    has_parameters: bool = True

    def connect(self, plan: StreamPlan) -> Document:
        """Return the document that opens the stream of `plan`."""
        response = ET.Element("Response")
        connect = ET.SubElement(
            response, "Connect", {"action": plan.again_url} if self.has_action else {}
        )
        attributes = {
            "url": plan.stream_url,
            **self.stream_attributes,
            "statusCallback": plan.status_url,
        }
        stream = ET.SubElement(connect, "Stream", attributes)
        if self.has_parameters:
            for name, value in plan.parameters.items():
                if len(name) + len(value) <= PARAMETER_MAX_CHARS:
                    # A SIP caller chooses its own address, with characters that no document may contain.
                    text = _NOT_XML.sub("", value)
                    ET.SubElement(stream, "Parameter", {"name": name, "value": text})
        _add_text(response, "Redirect", plan.again_url)
        return _xml(response)

    def busy(self) -> Document:
        """Return a document whose first verb rejects the call, which is then neither answered nor billed."""
        return _verb("Reject", {"reason": "busy"})


class PlivoDocuments(XmlDocuments):
    """Plivo XML."""

    pause: ClassVar[str] = "Wait"

    def connect(self, plan: StreamPlan) -> Document:
        """Return the document that opens the stream of `plan`."""
        response = ET.Element("Response")
        attributes = {
            "bidirectional": "true",
            "keepCallAlive": "true",  # the elements behind it are run when the stream has ended
            "contentType": "audio/x-mulaw;rate=8000",
            "statusCallbackUrl": plan.status_url,
        }
        _add_text(response, "Stream", plan.stream_url, attributes)
        _add_text(response, "Redirect", plan.again_url)
        return _xml(response)

    def busy(self) -> Document:
        """Return a document whose first element hangs up with the reason busy."""
        return _verb("Hangup", {"reason": "busy"})


class ExotelDocuments:
    """Answers to Exotel's Voicebot applet, which requests the URL of the stream from an https URL.

    The applet supports no other document. Without a stream it gets an error, and goes on with the next applet
    of its flow.
    """

    def connect(self, plan: StreamPlan) -> Document:
        """Return the URL of the stream of `plan`."""
        return Document(json.dumps({"url": plan.stream_url}).encode(), JSON)

    def busy(self) -> Document:
        """Return an error, so that the flow goes on with its next applet."""
        return _no_stream("No bot is free.")

    def hangup(self) -> Document:
        """Return an error, so that the flow goes on with its next applet."""
        return _no_stream("The session has ended.")

    def hold(self, again_url: str) -> Document:
        """Return an error, so that the flow goes on with its next applet; `again_url` is not used."""
        del again_url
        return self.hangup()

    def redirect(self, url: str) -> Document:
        """Return an error, so that the flow goes on with its next applet; `url` is not used."""
        del url
        return self.busy()


def _no_stream(reason: str) -> Document:
    content = json.dumps({"detail": reason}).encode()
    return Document(content, JSON, HTTPStatus.SERVICE_UNAVAILABLE)


def _verb(name: str, attributes: dict[str, str] | None = None) -> Document:
    response = ET.Element("Response")
    ET.SubElement(response, name, attributes or {})
    return _xml(response)


def _add_text(
    parent: ET.Element, name: str, text: str, attributes: dict[str, str] | None = None
) -> None:
    ET.SubElement(parent, name, attributes or {}).text = text


def _xml(response: ET.Element) -> Document:
    return Document(ET.tostring(response, encoding="UTF-8", xml_declaration=True), XML)
