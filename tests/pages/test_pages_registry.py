"""The list of pages is whole: what answers a GET is on it, or said to be no page."""

from __future__ import annotations

from tests.e2e.house.pages import NO_PAGES, PAGES, addresses, readable


def listed() -> set[str]:
    return {page.url_name for page in PAGES if not page.address.startswith("/errors/")}


def test_every_address_that_can_be_read_is_a_page_or_said_to_be_none() -> None:
    forgotten = readable() - listed() - NO_PAGES.keys()
    assert forgotten == set(), "add a line to PAGES, or say in NO_PAGES why these are none"


def test_what_is_said_to_be_no_page_exists_and_is_not_listed() -> None:
    assert NO_PAGES.keys() - addresses().keys() == set()
    assert NO_PAGES.keys() & listed() == set()


def test_each_picture_has_a_name_of_its_own() -> None:
    assert len({page.name for page in PAGES}) == len(PAGES)
