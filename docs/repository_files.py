"""Brings files of the repository that pages link to into the site, below `repository/`.

So a link such as `../docker/README.md` works in the repository and in the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
FOLDER = "repository"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|[/#])([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to, and what those link to."""
    pages = [file for file in files if file.src_uri.endswith(".md")]
    for page in pages:  # grows as it goes
        for link in LINK.findall(page.content_string):
            path = _linked(page, link)
            if path is not None and files.get_file_from_path(_uri(path)) is None:
                added = File.generated(config, _uri(path), abs_src_path=str(ROOT / path))
                files.append(added)
                if path.endswith(".md"):
                    pages.append(added)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links within the site."""
    here = posixpath.dirname(page.file.src_uri) or "."

    def within_site(match: re.Match[str]) -> str:
        path = _linked(page.file, match[1])
        return match[1] if path is None else posixpath.relpath(_uri(path), here)

    return LINK.sub(within_site, markdown)


def _linked(page: File, link: str) -> str | None:
    """The path in the repository that a page links to; of a directory, that of its README."""
    uri = page.src_uri
    own = uri.removeprefix(f"{FOLDER}/") if uri.startswith(f"{FOLDER}/") else f"docs/{uri}"
    path = posixpath.normpath(posixpath.join(posixpath.dirname(own), link))
    return next((name for name in (path, f"{path}/README.md") if (ROOT / name).is_file()), None)


def _uri(path: str) -> str:
    """A file's path in the site's sources."""
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{FOLDER}/{path}"
