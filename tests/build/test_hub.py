"""Checkpoints on the hub: a small server stands for it, with commits, branches and tags."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import huggingface_hub
import pytest
from safetensors.torch import load_file, save_file

from slimsam_build.checkpoints import DEMO, load_checkpoint
from slimsam_build.cli import main
from slimsam_build.digest import sha256_of
from slimsam_build.errors import CheckpointError

FIRST, SECOND = "1" * 40, "2" * 40


class Hub(ThreadingHTTPServer):
    """Files of commits, and the names of commits; `after_config` runs once config.json is out."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.commits: dict[str, dict[str, bytes]] = {}
        self.refs: dict[str, str] = {}
        self.asked: list[str] = []
        self.after_config: Any = lambda: None


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)
        if self.path.endswith("config.json"):
            self.server.after_config()

    def _answer(self, with_body: bool) -> None:
        repository, _, rest = self.path[1:].partition("/resolve/")
        revision, _, name = rest.rpartition("/")
        revision = revision.replace("%2F", "/")
        commit = self.server.refs.get(revision, revision)
        self.server.asked.append(f"{revision}/{name}")
        files = self.server.commits.get(commit)
        if repository != "owner/sam":
            self._refuse("RepoNotFound")
        elif files is None:
            self._refuse("RevisionNotFound")
        elif name not in files:
            self._refuse("EntryNotFound", commit)
        else:
            self.send_response(200)
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{hash(files[name])}"')
            self.send_header("Content-Length", str(len(files[name])))
            self.end_headers()
            if with_body:
                self.wfile.write(files[name])

    def _refuse(self, code: str, commit: str = "") -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        url = f"http://127.0.0.1:{server.server_port}"
        constants = huggingface_hub.constants
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        huggingface_hub.close_session()  # made with other proxies
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        huggingface_hub.close_session()
        server.shutdown()


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_a_hub_that_cannot_be_reached_is_one_line(
    hub: Hub,
    empty_repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    hub.server_close()
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the hub's own attempts
    options = ["build", "--checkpoint", "owner/sam@v1.0", "--target", "openvino"]
    assert main([*options, "--model-repository", str(empty_repository)]) == 2
    error = capfd.readouterr().err
    assert error.startswith("slimsam-build: error: checkpoint owner/sam@v1.0: ")
    assert error.count("\n") == 1 and "hf download owner/sam --revision v1.0" in error


@pytest.fixture
def commits(hub: Hub, tmp_path: Path) -> Hub:
    """Two commits whose weights differ; main and a tag are at the first, a branch at the second."""
    weights = load_file(DEMO / "model.safetensors")
    weights["mask_decoder.iou_token.weight"] += 1
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    hub.commits[FIRST] = files_of(DEMO)
    hub.commits[SECOND] = {**files_of(DEMO), **files_of(tmp_path)}
    hub.refs = {"main": FIRST, "v1.0": FIRST, "refs/pr/1": SECOND}
    return hub


@pytest.mark.parametrize(
    ("asked", "commit"),
    [("", FIRST), ("@v1.0", FIRST), ("@refs/pr/1", SECOND), (f"@{SECOND}", SECOND)],
    ids=["main", "tag", "branch", "commit"],
)
def test_a_revision_is_a_branch_a_tag_or_a_commit(commits: Hub, asked: str, commit: str) -> None:
    checkpoint = load_checkpoint(f"owner/sam{asked}")
    assert checkpoint.name == f"owner/sam@{commit}"
    other = load_checkpoint("demo").sha256
    assert (checkpoint.sha256 == other) is (commit == FIRST)


def test_weights_are_of_the_commit_of_their_config(commits: Hub) -> None:
    def move_on() -> None:
        commits.refs["main"] = SECOND

    commits.after_config = move_on
    checkpoint = load_checkpoint("owner/sam")
    assert checkpoint.name == f"owner/sam@{FIRST}"
    assert checkpoint.sha256 == sha256_of(DEMO / "model.safetensors")
    assert load_checkpoint("owner/sam").name == f"owner/sam@{SECOND}"


def test_what_was_fetched_is_found_without_a_network(
    commits: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = load_checkpoint("owner/sam@v1.0")
    commits.asked.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    for name in ("owner/sam@v1.0", fetched.name):
        assert load_checkpoint(name).name == fetched.name
    assert commits.asked == []


def put_in_several_files(files: dict[str, bytes], place: Path) -> list[Path]:
    """Give a commit its weights in two files and an index, which are written to a place."""
    tensors = sorted(load_file(DEMO / "model.safetensors").items())
    del files["model.safetensors"]
    shards, weight_map = [], {}
    for number, part in enumerate((tensors[::2], tensors[1::2])):
        shards.append(place / f"model-{number}.safetensors")
        save_file(dict(part), shards[-1], metadata={"format": "pt"})
        files[shards[-1].name] = shards[-1].read_bytes()
        weight_map.update({key: shards[-1].name for key, _ in part})
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    return shards


def test_weights_in_several_files_are_fetched(commits: Hub, tmp_path: Path) -> None:
    files = commits.commits[FIRST]
    shards = put_in_several_files(files, tmp_path)
    assert load_checkpoint("owner/sam").sha256 == sha256_of(*shards)
    del files["model-1.safetensors"]
    commits.commits["3" * 40] = files
    with pytest.raises(CheckpointError, match=r"all weights .* found no model-1\.safetensors"):
        load_checkpoint(f"owner/sam@{'3' * 40}")


def test_weights_of_another_name_are_found_without_a_network(
    commits: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = put_in_several_files(commits.commits[FIRST], tmp_path)
    load_checkpoint("owner/sam")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    cache = tmp_path / "cache" / "models--owner--sam"
    for known in (True, False):  # that there is no model.safetensors
        assert (cache / ".no_exist" / FIRST / "model.safetensors").exists() is known
        assert load_checkpoint("owner/sam").sha256 == sha256_of(*shards)
        if known:
            shutil.rmtree(cache / ".no_exist")
    for file in (cache / "snapshots" / FIRST).glob("model*"):
        file.unlink()
    with pytest.raises(CheckpointError, match="expected to reach the Hugging Face hub"):
        load_checkpoint("owner/sam")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("owner/other", "expected a directory, or a repository of that name"),
        ("owner/sam@v2", "found none of that name in owner/sam"),
        ("owner/sam@", 'expected "demo"'),
        ("owner/sam@../x", 'expected "demo"'),
        ("owner/sam@a@b", 'expected "demo"'),
    ],
)
def test_what_is_not_there_is_named(commits: Hub, name: str, found: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(name)
    assert found in str(caught.value) and str(caught.value).isprintable()


def test_a_repository_without_config_or_weights(commits: Hub) -> None:
    del commits.commits[FIRST]["model.safetensors"]
    with pytest.raises(CheckpointError, match=r"expected model\.safetensors or pytorch_model\.bin"):
        load_checkpoint("owner/sam")
    del commits.commits[SECOND]["config.json"]
    with pytest.raises(CheckpointError, match=r"expected a config\.json"):
        load_checkpoint(f"owner/sam@{SECOND}")


def test_a_full_disk_is_not_called_a_network(commits: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/cache/model")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    with pytest.raises(CheckpointError, match="No space left on device.*HF_HOME"):
        load_checkpoint("owner/sam")
