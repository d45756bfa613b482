"""A CVAT with one task, as far as `cvat-cli` asks one."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from PIL import Image

DATE: Final = "2026-01-01T00:00:00Z"
TASK: Final = {
    "id": 1,
    "url": "http://cvat/api/tasks/1",
    "name": "task",
    "organization": None,
    "organization_id": None,
    "project_id": None,
    "size": 1,
    "data_chunk_size": 72,
    "data_original_chunk_type": "imageset",
    "data_compressed_chunk_type": "imageset",
    "updated_date": DATE,
    "created_date": DATE,
    "mode": "annotation",
    "jobs": {"url": "", "count": 1, "completed": 0, "validation": 0},
    "labels": {"url": "http://cvat/api/labels?task_id=1"},
}
LABEL: Final = {
    "id": 5,
    "name": "object",
    "color": "#33ddff",
    "attributes": [],
    "type": "any",
    "sublabels": [],
    "project_id": None,
    "task_id": 1,
    "parent_id": None,
    "has_parent": False,
}
FUNCTION: Final = 7


class FakeCvat(ThreadingHTTPServer):
    """What it was asked, and what it was given.

    Args:
        picture: the task's one picture, as a file.

    Attributes:
        waiting: parameters of interactive requests that an agent is to take.
        completed: the answers, by the request's id.
        failed: what failed, by the request's id.
        created: the fields of functions that were created.
        annotations: what was put into the task.
        tokens: the Authorization of all requests.
        unknown: requests that it has no answer for.
    """

    daemon_threads = True

    def __init__(self, picture: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.picture = picture
        with Image.open(io.BytesIO(picture)) as image:
            self.size = image.size
        self.waiting: list[dict[str, Any]] = []
        self.completed: dict[str, Any] = {}
        self.failed: dict[str, Any] = {}
        self.created: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.unknown: list[str] = []

    def ask(self, points: Any = (), negative: Any = (), box: Any = ()) -> None:
        """Have an agent asked for masks of a prompt."""
        self.waiting.append(
            {
                "type": "interact",
                "task": 1,
                "frame": 0,
                "pos_points": points,
                "neg_points": negative,
                "obj_bbox": box,
            }
        )

    def answer_get(self, path: str, query: dict[str, list[str]]) -> Any:
        if path == "/api/server/about":
            texts = dict.fromkeys(("description", "subtitle", "logo_url"), "")
            return {"name": "cvat", "version": "2.80.0", **texts}
        if path == f"/api/functions/{FUNCTION}":
            return {"id": FUNCTION, "provider": "native", **_AS_CVAT_KEEPS_IT, **self.created[-1]}
        if path == "/api/tasks/1":
            return TASK
        if path == "/api/labels":
            return {"count": 1, "next": None, "previous": None, "results": [LABEL]}
        if path == "/api/tasks/1/data/meta":
            frame = {"name": "picture.png", "related_files": 0, "has_related_context": False}
            width, height = self.size
            return {
                "chunk_size": 72,
                "image_quality": 70,
                "start_frame": 0,
                "stop_frame": 0,
                "size": 1,
                "frame_filter": "",
                "deleted_frames": [],
                "included_frames": None,
                "chunks_updated_date": DATE,
                "cloud_storage_id": None,
                "frames": [{"width": width, "height": height, **frame}],
            }
        if path == "/api/tasks/1/data/":
            return self.picture if query["type"] == ["frame"] else self._chunk()
        return None

    def answer_post(self, path: str, content: dict[str, Any]) -> Any:
        if path == "/api/functions":
            self.created.append(content)
            return {"id": FUNCTION, **content}
        queue = f"/api/functions/queues/function:{FUNCTION}/requests/"
        if not path.startswith(queue):
            return None
        *ids, verb = path[len(queue) :].split("/")
        if verb == "acquire":
            if content["request_category"] != "interactive" or not self.waiting:
                return {"ar_assignment": None}
            number = len(self.completed) + len(self.failed)
            return {"ar_assignment": {"ar_id": f"{number}", "ar_params": self.waiting.pop(0)}}
        if verb in ("complete", "fail"):
            {"complete": self.completed, "fail": self.failed}[verb][ids[0]] = content
        return {}

    def _chunk(self) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as chunk:
            chunk.writestr("000000.png", self.picture)
        return file.getvalue()


_AS_CVAT_KEEPS_IT: Final = {
    "min_pos_points": 1,
    "min_neg_points": -1,
    "startswith_box": False,
    "startswith_box_optional": False,
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeCvat

    def do_HEAD(self) -> None:
        self._send(b"")

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self._send(self.server.answer_get(url.path, parse_qs(url.query)))

    def do_POST(self) -> None:
        self._send(self.server.answer_post(unquote(urlsplit(self.path).path), self._content()))

    def do_PATCH(self) -> None:
        self.server.annotations.append(self._content())
        self._send({"version": 1, "tags": [], "shapes": [], "tracks": []})

    def log_message(self, *_: Any) -> None:
        pass

    def _content(self) -> dict[str, Any]:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content: dict[str, Any] = json.loads(body or b"{}")
        return content

    def _send(self, content: Any) -> None:
        self.server.tokens.add(self.headers.get("Authorization"))
        if content is None:
            self.server.unknown.append(f"{self.command} {self.path}")
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(404 if content is None else 200)
        form = "image/png" if isinstance(content, bytes) else "application/vnd.cvat+json"
        self.send_header("Content-Type", form)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def fake_cvat(picture: bytes) -> Iterator[FakeCvat]:
    with FakeCvat(picture) as cvat:
        thread = threading.Thread(target=cvat.serve_forever)
        thread.start()
        try:
            yield cvat
        finally:
            cvat.shutdown()
            thread.join()
