"""Links between pages lead somewhere, also to the right heading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .pages import DOCS, pages

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    found = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} in {page.name}"
        if anchor:
            assert anchor in anchors(target), f"{link} in {page.name}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    readme, *_ = pages()
    seen: set[Path] = set()
    left = [readme]
    while left:
        page = left.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = (link.partition("#")[0] for link in _LINK.findall(prose(page)) if "://" not in link)
        left += [(page.parent / link).resolve() for link in links if link and (page.parent / link).is_file()]

    assert not {page.resolve() for page in DOCS.rglob("*.md")} - {page.resolve() for page in seen}


def test_a_heading_with_marks_has_the_anchor_that_code_hosts_give_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("## What can be seen\n\n## `server_port`, or 4200\n", encoding="utf-8")

    assert anchors(page) == {"what-can-be-seen", "server_port-or-4200"}
