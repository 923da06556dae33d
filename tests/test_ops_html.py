"""HTML as Markdown."""

import pytest

from gristmill.ops.ask import Bad
from gristmill.ops.html import markdown


def test_headings_are_underlined_or_marked_and_signs_of_text_escaped_or_not():
    page = "<h1>Tides</h1><p>a_b * c</p>"
    assert markdown(page) == "Tides\n=====\n\na\\_b \\* c"
    assert markdown(page, headings="atx", escape=False) == "# Tides\n\na_b * c"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("https://example.org/page", "https://example.org/page"),  # looks like an address, and no page
        ("notes.html", "notes.html"),
        ('<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><p>a</p></html>', "a"),
        (
            'Why <?xml version="1.0"?><p>x</p>',
            'Why xml version="1.0"?\n\nx',
        ),  # no beginning of a page: it is talked about
        ("", ""),
        ("日本 &amp; 海", "日本 & 海"),
        ("<p>open", "open"),
    ],
)
def test_a_text_that_is_no_page_is_read_as_it_stands_and_without_a_warning(text, read):
    assert markdown(text) == read


def test_markup_that_is_nested_too_deeply_is_an_error_that_says_so():
    with pytest.raises(Bad, match="parser_error") as caught:
        markdown("<i>" * 3000)
    assert "RecursionError" in caught.value.details["error"]
