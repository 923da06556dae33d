"""The text browser: a state made by its commands alone, and quotes that stand on the screen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.ops.browser import Browser, Link, Page

BREAD = Page(
    url="https://a.example/bread",
    title="Bread",
    text="Yeast makes gas. " * 10 + "Gluten holds it.",
    links=[Link("Yeast", "https://b.example/yeast"), Link("Gone", "https://b.example/gone")],
)
YEAST = Page(url="https://b.example/yeast", text="Yeast is a fungus.")
WEB = {page.url: page for page in (BREAD, YEAST)}


def browser(**options) -> Browser:
    return Browser("Why?", WEB, **{"window": 40, **options})


def opened(**options) -> Browser:
    one = browser(**options)
    one.act("Search bread", [BREAD])
    one.act("Clicked on link 1")
    return one


def test_a_search_shows_links_that_lead_to_pages_and_back_again():
    one = browser()
    assert one.act("Search bread", [BREAD, YEAST])
    assert "[1] Bread (a.example)" in one.state()
    assert one.visible == ""
    assert one.act("Clicked on link 1")
    assert (one.visible, one.opened) == (BREAD.text[:40], {BREAD.url})
    assert one.act("Clicked on link 1")
    assert "Yeast is a fungus." in one.state()
    assert one.act("Back")
    assert one.visible == BREAD.text[:40]


def test_a_page_is_scrolled_found_in_and_begun_again():
    one = opened()
    assert one.act("Scrolled down 2")
    assert one.visible == BREAD.text[80:120]
    assert one.act("Scrolled up 1")
    assert one.visible == BREAD.text[40:80]
    assert one.act("Find in page: Gluten")
    assert one.visible.startswith("Gluten holds it.")
    assert one.act("Top")
    assert one.visible == BREAD.text[:40]
    one.act("Find in page: Gluten")
    assert one.act("Find in page: Yeast")  # from the beginning again, where nothing follows
    assert one.visible == BREAD.text[:40]


def test_only_what_is_on_the_screen_word_for_word_can_be_quoted():
    one = opened()
    assert not one.act("Quote: Gluten holds it.")
    assert not one.act("Quote: yeast makes gas.")
    assert one.act("Quote: Yeast makes gas.")
    assert one.act("Find in page: Gluten")
    assert one.act("Quote: Gluten holds it.")
    assert [(quote.title, quote.domain, quote.extract) for quote in one.quotes] == [
        ("Bread", "a.example", "Yeast makes gas."),
        ("Bread", "a.example", "Gluten holds it."),
    ]


def test_nothing_can_be_quoted_from_the_results_of_a_search():
    one = browser()
    one.act("Search bread", [BREAD])
    assert not one.act("Quote: Bread")
    assert one.quotes == []


@pytest.mark.parametrize(
    "command",
    ["", "Fly away", "Clicked on link 9", "Clicked on link 2", "Clicked on link 0", "Scrolled down 4", "Top", "End: Maybe",
     "Find in page: zebra", "Quote: ", "Scrolled up 1", "search bread", "End: Answer please"],
)  # fmt: skip
def test_an_unknown_or_empty_command_changes_nothing_but_the_counter(command):
    one, same = opened(), opened()
    assert not one.act(command)
    assert len(one.actions) == len(same.actions) + 1
    assert (one.view, one.quotes, one.opened, one.ended) == (same.view, same.quotes, same.opened, same.ended)


def test_it_ends_by_its_command_by_its_actions_and_by_its_quotes():
    for command, ended in (("End: Answer", "answer"), ("End: <Nonsense, Controversial>", "nonsense")):
        one = browser()
        assert one.act(command)
        assert one.ended == ended
    one = browser(max_actions=2)
    one.act("x")
    assert one.ended == ""
    one.act("y")
    assert one.ended == "actions"
    one = opened(max_quoted=30)
    one.act("Quote: Yeast makes gas.")
    assert one.ended == ""
    one.act("Quote: Yeast makes gas.")
    assert one.ended == "quotes"


COMMAND = st.sampled_from(
    ["Search bread", "Clicked on link 1", "Clicked on link 2", "Back", "Top", "Scrolled down 1", "Scrolled up 2",
     "Quote: Yeast makes gas.", "Quote: nothing", "Find in page: Gluten", "nonsense"]
)  # fmt: skip


@given(st.lists(COMMAND, max_size=25))
def test_an_episode_is_rebuilt_from_its_commands_and_quotes_only_what_it_opened(commands):
    first, again = browser(), browser()
    for command in commands:
        first.act(command, [BREAD, YEAST])
    for command in first.actions:
        again.act(command, [BREAD, YEAST])
    assert first.state() == again.state()
    texts = [WEB[url].text for url in first.opened]
    assert all(any(quote.extract in text for text in texts) for quote in first.quotes)
    assert len(first.actions) == len(commands)
