"""The documents for carriers, compared with those of the carriers' own libraries."""

import json
from xml.etree import ElementTree as ET

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plivo import plivoxml
from twilio.twiml.voice_response import Connect, Pause, VoiceResponse

from cordboard.edge.phone.carriers import CARRIERS
from cordboard.edge.phone.documents import Document, StreamPlan

AGAIN = "https://voice.example.com/phone/x/again/CA1/00"
STATUS = "https://voice.example.com/phone/x/status/CA1/00"
STREAM = "wss://voice.example.com/phone/stream/abc.def"
USERS_URL = "https://app.example.com/next?a=1&b=<2>"
PLAN = StreamPlan(STREAM, AGAIN, STATUS, {"from_number": "+15557654321", "greeting": 'a "b" <&>'})


def canonical(document: Document | str) -> str:
    text = document if isinstance(document, str) else document.content.decode()
    return ET.canonicalize(text, strip_text=True)


def twiml(*, telnyx: bool = False) -> str:
    response = VoiceResponse()
    connect = Connect() if telnyx else Connect(action=AGAIN)
    more = {"bidirectional_mode": "rtp"} if telnyx else {}
    stream = connect.stream(url=STREAM, status_callback=STATUS, **more)
    if not telnyx:
        for name, value in PLAN.parameters.items():
            stream.parameter(name=name, value=value)
    response.append(connect)
    response.redirect(AGAIN)
    return str(response)


def test_twilio_and_telnyx_open_the_stream_as_their_library_writes_it() -> None:
    """Twilio with action, parameters and a redirect behind; Telnyx with its mode, and the redirect alone."""
    assert canonical(CARRIERS["twilio"].documents.connect(PLAN)) == canonical(twiml())
    assert canonical(CARRIERS["telnyx"].documents.connect(PLAN)) == canonical(twiml(telnyx=True))


@pytest.mark.parametrize("name", ["twilio", "telnyx"])
def test_twiml_refuses_holds_redirects_and_hangs_up(name: str) -> None:
    """The first verb of a refused call is Reject: it is neither answered nor billed."""
    documents = CARRIERS[name].documents
    busy, hangup, hold, redirect = (VoiceResponse() for _ in range(4))
    busy.reject(reason="busy")
    hangup.hangup()
    hold.append(Pause(length=3600))
    hold.redirect(AGAIN)
    redirect.redirect(USERS_URL)
    assert canonical(documents.busy()) == canonical(str(busy))
    assert canonical(documents.hangup()) == canonical(str(hangup))
    assert canonical(documents.hold(AGAIN)) == canonical(str(hold))
    assert canonical(documents.redirect(USERS_URL)) == canonical(str(redirect))


def test_plivo_documents_are_those_of_its_library() -> None:
    """Stream with keepCallAlive and a redirect behind; Hangup with its reason; Wait on hold."""
    documents = CARRIERS["plivo"].documents
    connect = plivoxml.ResponseElement()
    connect.add(
        plivoxml.StreamElement(
            STREAM,
            bidirectional=True,
            keepCallAlive=True,
            contentType="audio/x-mulaw;rate=8000",
            statusCallbackUrl=STATUS,
        )
    )
    connect.add(plivoxml.RedirectElement(AGAIN))
    assert canonical(documents.connect(PLAN)) == canonical(connect.to_string())
    busy = plivoxml.ResponseElement().add(plivoxml.HangupElement(reason="busy"))
    assert canonical(documents.busy()) == canonical(busy.to_string())
    hangup = plivoxml.ResponseElement().add(plivoxml.HangupElement())
    assert canonical(documents.hangup()) == canonical(hangup.to_string())
    hold = plivoxml.ResponseElement().add(plivoxml.WaitElement(length=3600))
    hold.add(plivoxml.RedirectElement(AGAIN))
    assert canonical(documents.hold(AGAIN)) == canonical(hold.to_string())
    redirect = plivoxml.ResponseElement().add(plivoxml.RedirectElement(USERS_URL))
    assert canonical(documents.redirect(USERS_URL)) == canonical(redirect.to_string())


def test_exotel_gets_the_url_or_an_error() -> None:
    """The Voicebot applet asks for {"url": ...}; on an error the flow goes on. Never 429."""
    documents = CARRIERS["exotel"].documents
    assert json.loads(documents.connect(PLAN).content) == {"url": STREAM}
    others = (
        documents.busy(),
        documents.hangup(),
        documents.hold(AGAIN),
        documents.redirect(AGAIN),
    )
    for document in others:
        assert document.status == 503
        assert "url" not in json.loads(document.content)


@pytest.mark.parametrize("name", [name for name in CARRIERS if name != "exotel"])
def test_refusals_are_answers_and_no_errors(name: str) -> None:
    """A carrier takes 429 and other errors for a broken application."""
    documents = CARRIERS[name].documents
    assert {documents.busy().status, documents.connect(PLAN).status} == {200}
    assert {documents.busy().media_type} == {"text/xml"}


@hypothesis.settings(max_examples=50)
@given(
    st.dictionaries(
        st.text("abc", min_size=1), st.text(max_size=40) | st.just("x" * 600), max_size=3
    )
)
def test_every_text_is_escaped_and_long_parameters_are_left_out(parameters: dict[str, str]) -> None:
    """Whatever a parameter contains, the document stays one, and Twilio's limit of 500 holds."""
    plan = StreamPlan(STREAM, AGAIN, STATUS, parameters)
    document = CARRIERS["twilio"].documents.connect(plan)
    found = {
        item.attrib["name"]: item.attrib["value"]
        for item in ET.fromstring(document.content).iter("Parameter")
    }
    assert found == {
        name: "".join(filter(is_xml, value))
        for name, value in parameters.items()
        if len(name + value) <= 500
    }
    assert ET.fromstring(document.content).findall(f"Connect/Stream[@url='{STREAM}']")


def is_xml(letter: str) -> bool:
    """Return whether XML has a form for a character."""
    is_in_range = " " <= letter <= "\ud7ff" or "\ue000" <= letter <= "\ufffd" or letter > "\uffff"
    return letter in "\t\n\r" or is_in_range
