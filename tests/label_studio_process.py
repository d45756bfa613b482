"""The real Label Studio, from the environment that `make test-tools` makes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

EMAIL, PASSWORD, LEGACY_TOKEN = "annotator@example.com", "a long password", "5" * 40
PATIENCE = 600.0
SETTINGS = {
    # A gateway on loopback is refused otherwise, and its webhook beside it.
    "ML_BLOCK_LOCAL_IP": "0",
    "USE_DEFAULT_BANNED_SUBNETS": "0",
    "COLLECT_ANALYTICS": "0",
    "LATEST_VERSION_CHECK": "0",
    "FRONTEND_SENTRY_DSN": "",
    "SENTRY_DSN": "",
}


@dataclass(frozen=True)
class LabelStudio:
    """A Label Studio that runs.

    Attributes:
        url: its address.
        http: a client that is logged in as the one annotator.
    """

    url: str
    http: httpx2.Client

    def ask(self, method: str, path: str, content: Any = None, **options: Any) -> Any:
        """Ask its API, and give the answer's JSON."""
        if content is not None:
            options["json"] = content
        answer = self.http.request(method, path, **options)
        assert answer.is_success, (method, path, answer.status_code, answer.text[:2000])
        return answer.json() if answer.content else None

    def personal_token(self) -> str:
        """Make the annotator's personal access token: there may be one."""
        return str(self.ask("POST", "/api/token/", {})["token"])

    def allow_legacy_tokens(self) -> str:
        """Let requests come with the annotator's legacy token, and give it."""
        self.ask(
            "POST",
            "/api/jwt/settings",
            {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True},
        )
        return LEGACY_TOKEN

    def project(self, title: str, configuration: str) -> int:
        """Make a project, and give its number."""
        content = {"title": title, "label_config": configuration}
        return int(self.ask("POST", "/api/projects", content)["id"])

    def upload(self, project: int, name: str, picture: bytes) -> int:
        """Upload a picture, and give its task's number."""
        known = {task["id"] for task in self.tasks(project)}
        self.ask("POST", f"/api/projects/{project}/import", files={"file": (name, picture)})
        [new] = {task["id"] for task in self.tasks(project)} - known
        return int(new)

    def tasks(self, project: int) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = self.ask("GET", f"/api/tasks?project={project}")["tasks"]
        return tasks

    def connect(self, project: int, url: str, **more: Any) -> dict[str, Any]:
        """Connect an ML backend, and give what Label Studio knows of it."""
        content = {"project": project, "url": url, "title": "SlimSAM", "is_interactive": True}
        connected: dict[str, Any] = self.ask("POST", "/api/ml", {**content, **more})
        return connected

    def export(self, project: int) -> list[dict[str, Any]]:
        """Export a project as Label Studio's own JSON."""
        tasks: list[dict[str, Any]] = self.ask("GET", f"/api/projects/{project}/export")
        return tasks


@contextmanager
def label_studio(tools: Path, directory: Path) -> Iterator[LabelStudio]:
    """Start one.

    Args:
        tools: the folder with the environments of the tools.
        directory: an empty one, for its database, its files and its log.
    """
    url = f"http://127.0.0.1:{_free_port()}"
    arguments = [
        *("start", "--no-browser", "--internal-host", "127.0.0.1"),
        *("--port", url.rpartition(":")[2]),
        *("--username", EMAIL, "--password", PASSWORD, "--user-token", LEGACY_TOKEN),
    ]
    log = directory / "log"
    with log.open("w") as lines:
        process = subprocess.Popen(
            [tools / "label-studio/bin/label-studio", *arguments],
            env={
                **os.environ,
                **SETTINGS,
                "HOME": str(directory),
                "LABEL_STUDIO_BASE_DATA_DIR": str(directory / "data"),
            },
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with httpx2.Client(base_url=url, timeout=PATIENCE, follow_redirects=True) as http:
            _wait_until_up(process, http, log)
            _log_in(http)
            yield LabelStudio(url, http)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait_until_up(process: subprocess.Popen[bytes], http: httpx2.Client, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if http.get("/health").is_success:
                return
        except httpx2.TransportError:
            pass
        assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.5)


def _log_in(http: httpx2.Client) -> None:
    """Log in as the form does; requests that change something need its second token, too."""
    form = http.get("/user/login/").text
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
    assert found is not None
    fields = {"email": EMAIL, "password": PASSWORD, "csrfmiddlewaretoken": found[1]}
    origin = {"Referer": str(http.base_url)}
    assert http.post("/user/login/", data=fields, headers=origin).is_success
    http.headers.update({**origin, "X-CSRFToken": http.cookies["csrftoken"]})
    assert http.get("/api/current-user/whoami").json()["email"] == EMAIL
