"""The report names the cause, with its lines; not of several sessions, nor of a part of the lines."""

from dataclasses import replace

import pytest

from cordboard.logs.report import Header, text
from cordboard.logs.report.entry import clean_record
from cordboard.logs.report.model import ModelMaker
from logs.why_support import planted
from report_support import COMPLETE, HEADER, HOSTILE, page_of

pytestmark = pytest.mark.fast


def report_of(name: str, header: Header = HEADER) -> str:
    """Return the text report of a planted call."""
    maker = ModelMaker(header)
    for record in planted(name).told.records:
        maker.add(clean_record(record))
    return "\n".join(text.report(maker.model(COMPLETE), []))


def test_the_text_names_the_cause_and_its_lines() -> None:
    """Each line with its boot and number."""
    said = report_of("packet_loss")
    assert "CAUSE  Packet loss" in said
    assert "media.stats" in said.split("ABOUT THIS SESSION")[0]
    assert "ruled out: Queue full" in said


def test_the_page_names_the_cause_and_what_is_ruled_out() -> None:
    """In a section of its own, to which the page links."""
    page = page_of(planted("language_model_slow").told.records)
    assert '<section id="cause">' in page
    assert 'href="#cause"' in page
    assert "<b>Language model slow</b>" in page
    assert "Ruled out" in page


@pytest.mark.parametrize(
    "header", [replace(HEADER, filters=("--level warn",)), Header(made_at="now")]
)
def test_a_part_of_the_lines_has_no_cause(header: Header) -> None:
    """Lines that a filter left out, or that were not asked for by session, could change it."""
    assert "CAUSE" not in report_of("packet_loss", header)


def test_hostile_words_are_shown_as_text() -> None:
    """What a line says is no markup in the section of the cause."""
    for words in HOSTILE:
        told = planted("service_failed").told
        for record in told.records:
            if record.get("event") == "service.error":
                record["meta"]["processor"] = words
        page = page_of(told.records)
        section = page.split('<section id="cause">')[1].split("</section>")[0]
        assert not {"<script", "<img", "\x1b", "\u202e"} & set(section.split())
        assert "<script" not in section
        assert "<img" not in section
