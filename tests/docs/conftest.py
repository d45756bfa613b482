"""What tests of the documentation share: its pages, their code, a server, a picture."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from envoy_edge import Authorities, Edge, edge
from markdown_it import MarkdownIt
from PIL import Image

from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")


@dataclass(frozen=True)
class Block:
    """A block of code in a page.

    Attributes:
        language: what stands behind its fence; empty for an indented block.
        code: its text.
        line: of the page, from 0.
        not_run: why it is not to be run, as the comment before it says; empty if it is.
    """

    language: str
    code: str
    line: int
    not_run: str


def find_blocks(page: str) -> list[Block]:
    """All code of a page."""
    blocks = []
    reason = ""
    for token in MarkdownIt().enable("table").parse((ROOT / page).read_text("utf-8")):
        if token.type in ("fence", "code_block"):
            assert token.map is not None
            first = token.map[0] + (token.type == "fence")
            blocks.append(Block(token.info.strip(), token.content, first, reason))
        if token.type == "html_block" and (match := NOT_RUN.search(token.content)):
            reason = match[1]
        elif token.level == 0:
            reason = ""
    return blocks


@pytest.fixture(scope="session")
def blocks_of() -> Callable[[str], list[Block]]:
    return find_blocks


@pytest.fixture(scope="session")
def protoset(
    blocks_of: Callable[[str], list[Block]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What the first block of the contract's page writes: Triton's descriptors."""
    page = "docs/contract.md"
    directory = tmp_path_factory.mktemp("protoset")
    [block] = [block for block in blocks_of(page) if block.language == "python"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        exec(compile(block.code, page, "exec"), {})
    return directory / "inference.protoset"


@pytest.fixture(scope="package")
def server(demo_repository: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(demo_repository, allow_shared_memory=True) as running:
        yield running


@pytest.fixture(scope="package")
def guarded(
    server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Edge, Authorities]]:
    """The edge before that server, and whom it knows."""
    authorities = Authorities(tmp_path_factory.mktemp("authorities"))
    with edge(authorities, server.grpc_url, tmp_path_factory.mktemp("edge")) as running:
        yield running, authorities


@pytest.fixture
def workplace(tmp_path: Path, demo_repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that has what the pages speak of: some pictures and a model repository."""
    with Image.open(ROOT / "examples/scene.png") as scene:
        for name in ("photo.jpg", "second.jpg", "a.jpg", "b.jpg"):
            scene.resize((960, 720)).save(tmp_path / name)
        (tmp_path / "photos").mkdir()
        for number in range(2):
            scene.resize((320, 240 - number)).save(tmp_path / f"photos/{number}.jpg")
    (tmp_path / "model_repository").symlink_to(demo_repository)
    monkeypatch.chdir(tmp_path)
    return tmp_path
