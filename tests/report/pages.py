"""A written page, taken apart, and what must hold of every one."""

import re
from html.parser import HTMLParser

import pytest

from mmagga.report import page

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@pytest.fixture(scope="module", autouse=True)
def coarse_pictures():
    """Draw with few dots: what a picture shows is tested elsewhere, and fine ones take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "_DOTS", 20)
        patch.setattr(page, "_FAINT_DOTS", 20)
        yield


class Page(HTMLParser):
    """The elements and the texts of a page."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.texts = [], []
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def every(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def headings(self):
        return re.findall("<h2>(.*)</h2>", self.source)


def assert_safe(page):
    """No script, nothing that could become one, nothing from elsewhere."""
    policies = [meta["content"] for meta in page.every("meta") if "http-equiv" in meta]
    assert policies == [POLICY]
    known = {"html", "head", "meta", "title", "style", "body", "header", "main", "section", "nav",
             "h1", "h2", "p", "a", "pre", "dl", "dt", "dd", "div", "figure", "img", "figcaption",
             "table", "caption", "thead", "tbody", "tr", "th", "td", "b", "i", "u"}  # fmt: skip
    assert {tag for tag, _ in page.elements} <= known
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in {"src", "href", "srcset", "action", "data", "poster"} & set(attributes):
            assert attributes[name].startswith("data:image/png;base64," if tag == "img" else "#s")
    assert not re.search(r"url\(|@import|expression", "".join(page.source.split("<body>")[0]))
