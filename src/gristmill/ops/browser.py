"""A text browser over a set of pages, as WebGPT's (Nakano et al. 2021, section 2 and table 1): a state that is a function
of the commands so far, so that an episode is rebuilt from them.

It shows a part of a page at a time. What is quoted must stand in that part, word for word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from gristmill.rows import Document

COMMANDS = """Search <query>
Clicked on link <number>
Find in page: <text>
Quote: <text>
Scrolled down <1, 2 or 3>
Scrolled up <1, 2 or 3>
Top
Back
End: Answer
End: <Nonsense, Controversial>"""


class Link(msgspec.Struct):
    """A link of a page."""

    text: str
    url: str


class Page(Document, kw_only=True):
    """A page of the web that is browsed."""

    url: str
    title: str = ""
    links: list[Link] = msgspec.field(default_factory=list)


class Reference(msgspec.Struct):
    """A quote, and where it stands."""

    title: str
    domain: str
    extract: str


@dataclass(frozen=True)
class View:
    """What is on the screen: a page from a character on, or the results of a search."""

    page: Page | None = None
    at: int = 0
    query: str = ""
    results: tuple[Page, ...] = ()


@dataclass
class Browser:
    """One episode.

    Args:
        pages: all that there is, by URL. A link to a page that is not among them leads nowhere.
        window: characters of a page that are seen at once.
        max_actions: commands, valid or not, after which it ends.
        max_quoted: characters of all quotes together after which it ends; 0: no limit.
    """

    question: str
    pages: Mapping[str, Page]
    window: int = 2000
    max_actions: int = 100
    max_quoted: int = 0
    quotes: list[Reference] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    opened: set[str] = field(default_factory=set)
    """URLs of the pages that were opened."""
    ended: str = ""
    """Why it is over: "answer", "nonsense", "actions", "quotes"; "" while it goes on."""
    _views: list[View] = field(default_factory=lambda: [View()])

    @property
    def view(self) -> View:
        return self._views[-1]

    @property
    def visible(self) -> str:
        """The part of a page that is on the screen; "" where there is none."""
        view = self.view
        return view.page.text[view.at : view.at + self.window] if view.page else ""

    @property
    def links(self) -> list[Link]:
        """What can be clicked, in the order of their numbers from 1 on."""
        if self.view.page:
            return self.view.page.links
        return [Link(page.title or page.url, page.url) for page in self.view.results]

    def state(self) -> str:
        """All that the model gets to know, before it gives its next command."""
        parts = [f"Question: {self.question}"]
        if self.quotes:
            parts.append("Quotes:\n" + references(self.quotes))
        if self.actions:
            parts.append("Past actions:\n" + "\n".join(f"- {action}" for action in self.actions))
        if self.view.page:
            page = self.view.page
            more = len(page.text) - self.view.at - self.window
            parts.append(f"Page: {page.title or page.url} ({domain(page.url)})\n{self.visible}")
            parts.append(f"({self.view.at} characters above, {max(0, more)} below)")
        elif self.view.query:
            parts.append(f"Results for: {self.view.query}" + ("" if self.view.results else "\nNothing was found."))
        if self.links:
            shown = [f"[{n}] {link.text} ({domain(link.url)})" for n, link in enumerate(self.links, start=1)]
            parts.append("Links:\n" + "\n".join(shown))
        parts.append(f"Commands:\n{COMMANDS}")
        parts.append(f"Actions left: {self.max_actions - len(self.actions)}")
        return "\n\n".join(parts)

    def wants_search(self, command: str) -> str:
        """The query of a command that searches; "" for others."""
        found = re.fullmatch(r"Search:?\s+(.+)", command.strip())
        return found[1] if found else ""

    def act(self, command: str, results: Sequence[Page] = ()) -> bool:
        """Carry a command out; whether it had an effect. One that cannot be, or is none, costs an action all the same.

        Args:
            results: of the search, where it is one.
        """
        command = command.strip()
        self.actions.append(command)
        done = self._act(command, results)
        if not self.ended and self.max_quoted and sum(len(one.extract) for one in self.quotes) >= self.max_quoted:
            self.ended = "quotes"
        if not self.ended and len(self.actions) >= self.max_actions:
            self.ended = "actions"
        return done

    def _act(self, command: str, results: Sequence[Page]) -> bool:
        if query := self.wants_search(command):
            return self._go(View(query=query, results=tuple(results)))
        if found := re.fullmatch(r"Clicked on link (\d+)", command):
            number = int(found[1])
            page = self.pages.get(self.links[number - 1].url) if 1 <= number <= len(self.links) else None
            if page is None:
                return False
            self.opened.add(page.url)
            return self._go(View(page))
        if command in ("End: Answer", "End: Nonsense, Controversial", "End: <Nonsense, Controversial>"):
            self.ended = "answer" if command == "End: Answer" else "nonsense"
            return True
        if command == "Back" and len(self._views) > 1:
            self._views.pop()
            return True
        page = self.view.page
        if page is None:
            return False
        if found := re.fullmatch(r"Find in page: (.+)", command):
            at = page.text.find(found[1], self.view.at + 1)
            at = at if at >= 0 else page.text.find(found[1])
            return at >= 0 and self._scroll(at)
        if found := re.fullmatch(r"Quote: (.+)", command, re.DOTALL):
            if found[1] not in self.visible:
                return False
            self.quotes.append(Reference(page.title or page.url, domain(page.url), found[1]))
            return True
        if found := re.fullmatch(r"Scrolled (down|up) ([123])", command):
            step = self.window * int(found[2]) * (1 if found[1] == "down" else -1)
            return self._scroll(self.view.at + step)
        return command == "Top" and self._scroll(0)

    def _go(self, view: View) -> bool:
        self._views.append(view)
        return True

    def _scroll(self, at: int) -> bool:
        page = self.view.page
        assert page
        at = max(0, min(at, len(page.text) - 1))
        if at == self.view.at:
            return False
        self._views[-1] = View(page, at)
        return True


def references(quotes: Sequence[Reference]) -> str:
    return "\n".join(f"[{n}] {one.title} ({one.domain}): {one.extract}" for n, one in enumerate(quotes, start=1))


def domain(url: str) -> str:
    return urlsplit(url).netloc or url
