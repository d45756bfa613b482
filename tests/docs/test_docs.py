"""Pages say what is so: their code runs, their links lead somewhere, nothing is left out."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

import slimsam_client
from slimsam_client import GenerateSettings, encodings, errors, operations, testing
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
PAGES = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
    cwd=ROOT, check=True, capture_output=True, text=True,
).stdout.split()  # fmt: skip
Blocks = Callable[[str], list[Any]]
GUARDED = "segmentation.example.com:8443"
"""Pages call a server by this name that asks for certificates and tokens."""


def has(page: str, what: str) -> bool:
    return re.search(what, (ROOT / page).read_text("utf-8"), re.MULTILINE) is not None


@pytest.fixture
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default grid is a minute's work on a small machine: everything mode gets a coarse one."""
    generate = operations.generate

    def coarse(image: Any, settings: GenerateSettings | None, *rest: Any) -> Any:
        asked = settings or GenerateSettings()
        few = min(asked.points_per_side, 4)
        return generate(image, dataclasses.replace(asked, points_per_side=few), *rest)

    monkeypatch.setattr(operations, "generate", coarse)


# supervision says so when it is imported.
@pytest.mark.filterwarnings("ignore:OpenCV .* is not installed:UserWarning")
@pytest.mark.parametrize("page", [page for page in PAGES if has(page, "^ *```python$")])
def test_python_runs(
    page: str,
    blocks_of: Blocks,
    server: EmbeddedServer,
    workplace: Path,
    few_points: None,
    request: pytest.FixtureRequest,
) -> None:
    """One block after the other, as a reader would type them."""
    names: dict[str, Any] = {"__name__": "__main__"}
    blocks = [block for block in blocks_of(page) if block.language == "python"]
    assert blocks
    guarded = GUARDED
    if any(GUARDED in block.code for block in blocks):
        edge, authorities = request.getfixturevalue("guarded")
        guarded = edge.url
        names["fetch_token"] = lambda: authorities.headers("me")["authorization"].split()[1]
        for name, file in {"ca.pem": "root", "me.pem": "client", "me.key": "client"}.items():
            (workplace / name).symlink_to(getattr(authorities, file))
    for block in blocks:
        if block.not_run:
            compile(block.code, page, "exec")
            continue
        code = block.code.replace("localhost:8001", server.grpc_url).replace(GUARDED, guarded)
        # Lines before it, so that a traceback names the page's own.
        exec(compile("\n" * block.line + code, str(ROOT / page), "exec"), names)


def commands(page: str) -> list[str]:
    """Lines of a page that call `slimsam`, joined where they go on.

    Batches want pictures in stores and detections of others, as tests/batch has them.
    """
    text = (ROOT / page).read_text("utf-8").replace("\\\n", " ")
    return re.findall(r"^(?:    )?(slimsam (?!batch)[a-z].*?)(?: +#.*)?$", text, re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_run(page: str, server: EmbeddedServer, workplace: Path) -> None:
    """One after the other, too."""
    programs = Path(sys.executable).parent
    for command in commands(page):
        if command.startswith("slimsam everything") and "--points-per-side" not in command:
            command += " --points-per-side 4"  # as few_points
        done = subprocess.run(
            ["bash", "-c", command],
            env={
                **os.environ,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "SLIMSAM_URL": server.grpc_url,
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, (command, done.stderr)


def inline(page: str) -> list[Token]:
    text = (ROOT / page).read_text("utf-8")
    return [
        child
        for token in MarkdownIt().enable("table").parse(text)
        for child in token.children or []
    ]


def anchors(page: Path) -> set[str]:
    """The ids of a page's headings."""
    tokens = MarkdownIt().parse(page.read_text("utf-8"))
    headings = [
        following.content
        for token, following in zip(tokens, tokens[1:], strict=False)
        if token.type == "heading_open"
    ]
    return {
        re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())
        for heading in headings
    }


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for token in inline(page):
        target = token.attrGet("href") or token.attrGet("src")
        if not isinstance(target, str) or re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_tables_are_those_of_the_code() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "cogapp",
            "-P",
            "--check",
            "--diff",
            "-I",
            "docs",
            "-I",
            ".",
        ]
        + [page for page in PAGES if has(page, r"\[\[\[cog")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"run `make docs`\n{done.stdout}{done.stderr}"


def test_every_error_has_its_section() -> None:
    text = (ROOT / "docs/errors.md").read_text("utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    found = [section.split("\n", 1)[0] for section in sections]
    tree = errors.__doc__ or ""
    expected = re.findall(r"\b\w+Error\b(?= *\(|  |$)", tree, re.MULTILINE)
    classes = [name for name, _ in inspect.getmembers(errors, is_error)]
    assert sorted(expected) == sorted(classes)
    assert found == expected
    for name, section in list(zip(found, sections, strict=True))[1:]:
        assert "**Cause.**" in section and "**Cure.**" in section, name


def is_error(thing: object) -> bool:
    return inspect.isclass(thing) and issubclass(thing, errors.SlimSamError)


@pytest.mark.parametrize("module", [slimsam_client, encodings, testing])
def test_every_public_name_is_in_the_reference(module: ModuleType) -> None:
    text = "\n".join(page.read_text("utf-8") for page in (ROOT / "docs/reference").glob("*.md"))
    named = set(re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE))
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert named & {f"{module.__name__}.{name}", thing.__module__}, name


def test_the_architecture_names_files_that_there_are() -> None:
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    there = [f"/{name}" for name in listed if (ROOT / name).exists()]
    named = re.findall(r"`([\w./*-]+(?:\.py|/))`", page)
    assert len(named) > 50
    for name in named:
        if name.endswith("/"):
            assert any(f"/{name}" in path for path in there), name
        else:
            assert any(fnmatch(path, f"*/{name}") for path in there), name


def test_the_architecture_has_the_layers_that_are_held() -> None:
    settings = (ROOT / "pyproject.toml").read_text("utf-8")  # Python 3.10 reads no TOML
    held = re.findall(r'^    "(.+)",$', settings.split("exhaustive = true")[1].split("]")[0], re.M)
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| (.+?) \| .+ \|$", page.split("| layer |")[1], re.MULTILINE)
    told = [re.findall(r"`(\w+)/?`", row) for row in rows]
    assert len(told) == len(held)
    for names, layer in zip(told, held, strict=True):
        modules = layer.split(" | ")
        small = {"former_names", "quoting", "version"} if "errors" in names else set()
        assert {*names} | small == {*modules}


def test_every_extra_is_described() -> None:
    text = (ROOT / "client/pyproject.toml").read_text("utf-8")
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = re.findall(r"^([\w-]+) = ", section, re.MULTILINE)
    assert extras and all(has("docs/client.md", rf"^\| `{extra}` \|") for extra in extras)
