"""Progress: a bar for a terminal, lines without tqdm, nothing elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from slimsam_client.cli.progress import shown_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, quiet: bool = False) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with shown_progress("images", quiet) as progress:
        for done in range(1, 101):
            progress(done, 100)
    return stream.getvalue()


def test_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = said(monkeypatch, Terminal())
    assert shown.startswith("\rimages: ")
    assert "100%" in shown and "100/100" in shown


def test_lines_without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert said(monkeypatch, Terminal()) == "images: 1 of 100\nimages: 100 of 100\n"


def test_nothing_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, io.StringIO()) == ""
    assert said(monkeypatch, Terminal(), quiet=True) == ""
