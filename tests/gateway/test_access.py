"""Who may ask: keys, the header Host, origins of pages."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from running_gateway import Gateway, kind

from slimsam_client import SettingsError
from slimsam_gateway import GatewaySettings
from slimsam_gateway.keys import KeyRing

from .conftest import Start

KEYS = {"alice": "an-alice-key", "bob": "a-bob-key"}
PATHS = (
    ("POST", "/v1/images"),
    ("POST", f"/v1/images/{'0' * 64}/masks"),
    ("POST", f"/v1/images/{'0' * 64}/everything"),
    ("DELETE", f"/v1/images/{'0' * 64}"),
    ("GET", "/metrics"),
    ("GET", "/nothing"),
    ("OPTIONS", "/v1/images"),
)


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture
def guarded(start: Start, tmp_path: Path) -> Gateway:
    path = tmp_path / "keys"
    lines = [f"{name}  {digest(key)}" for name, key in KEYS.items()]
    path.write_text("# who may ask\n\n" + "\n".join(lines) + "  # the last\n")
    return start(keys=KeyRing.read(path), metrics=True)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_nothing_without_a_key(guarded: Gateway, method: str, path: str) -> None:
    for headers in (
        {},
        bearer("another"),
        bearer(digest(KEYS["alice"])),
        bearer(f"{KEYS['alice']}x"),
        {"authorization": KEYS["alice"]},
        {"authorization": f"Basic {KEYS['alice']}"},
        {"authorization": "Bearer"},
        bearer("\xff"),
    ):
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        answer = guarded.http.request(method, path, headers=encoded)
        assert (answer.status_code, kind(answer.json())) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert KEYS["alice"] not in answer.text


def test_with_a_key(guarded: Gateway, picture: bytes) -> None:
    for name, key in KEYS.items():
        answer = guarded.http.post("/v1/images", content=picture, headers=bearer(key))
        assert answer.status_code == 201
        assert guarded.log.line_of(answer.headers["x-request-id"])["key"] == name
        assert guarded.http.get("/metrics", headers=bearer(key)).status_code == 200
    for secret in (*KEYS.values(), *map(digest, KEYS.values())):
        assert secret not in guarded.log.text


def test_what_needs_no_key(guarded: Gateway) -> None:
    for path in ("/health", "/v1", "/v1/openapi.json", "/v1/problems"):
        assert guarded.http.get(path).status_code == 200
    description = guarded.http.get("/v1/openapi.json").json()
    assert description["security"] == [{"key": []}]


def test_a_body_without_a_key_is_not_read(guarded: Gateway) -> None:
    head = b"POST /v1/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with guarded.send(head) as connection:
        assert connection.recv(2**16).startswith(b"HTTP/1.1 401 ")


def test_a_name_may_have_two_keys(tmp_path: Path) -> None:
    ring = KeyRing([("alice", hashlib.sha256(key).digest()) for key in (b"old", b"new")])
    assert [ring.name_of(key) for key in ("old", "new", "other")] == ["alice", "alice", None]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "readable file"),
        (b"", "at least one line"),
        (b"# nobody\n", "at least one line"),
        (b"alice my-secret-key\n", "line 1"),
        (b"ok " + b"0" * 64 + b"\nalice " + b"0" * 63, "line 2"),
        (b"my-secret-key\n", "line 1"),
        (b"\xff\xfe", "no UTF-8"),
    ],
)
def test_files_of_keys_that_are_wrong(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=expected) as raised:
        KeyRing.read(path)
    assert "my-secret-key" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("gateway.example:443", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("evil.example:80@localhost", 421),
        ("localhost:80:80", 421),
        ("[::2]", 421),
        ("0.0.0.0", 421),
    ],
)
def test_hosts(start: Start, host: str, status: int) -> None:
    gateway = start(hosts=("gateway.example",))
    answer = gateway.http.get("/v1", headers={"host": host})
    assert answer.status_code == status
    if status == 421:
        assert kind(answer.json()) == "host"


def test_any_host(start: Start) -> None:
    gateway = start(hosts=("*",))
    assert gateway.http.get("/v1", headers={"host": "whatever.example"}).status_code == 200


def preflight(gateway: Gateway, origin: str, **more: str) -> tuple[int, dict[str, str]]:
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    answer = gateway.http.options("/v1/images", headers={**headers, **more})
    return answer.status_code, dict(answer.headers)


def test_pages_of_other_origins(start: Start, picture: bytes) -> None:
    gateway = start(
        origins=("https://app.example",),
        keys=KeyRing([("alice", hashlib.sha256(b"key").digest())]),
    )
    status, headers = preflight(gateway, "https://app.example")  # which carries no key
    assert status == 200
    assert headers["access-control-allow-origin"] == "https://app.example"
    assert "POST" in headers["access-control-allow-methods"]
    asking = {"origin": "https://app.example", **bearer("key")}
    answer = gateway.http.post("/v1/images", content=picture, headers=asking)
    assert answer.status_code == 201
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    exposed = answer.headers["access-control-expose-headers"].lower()
    assert "x-request-id" in exposed and "retry-after" in exposed
    # Their pages read problems, too.
    refused = gateway.http.post("/v1/images", headers={"origin": "https://app.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://app.example"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://app.example", "https://app.example.evil", "null"]
)
def test_pages_of_origins_that_are_not_allowed(start: Start, picture: bytes, origin: str) -> None:
    """They may not even have work done whose answer they could not read."""
    gateway = start(origins=("https://app.example",))
    assert preflight(gateway, origin)[0] == 403
    headers = {"origin": origin, "content-type": "text/plain"}
    problem = gateway.problem("POST", "/v1/images", content=picture, headers=headers)
    assert kind(problem) == "origin"


def test_pages_of_the_gateway_itself(gateway: Gateway, picture: bytes) -> None:
    """Also behind a proxy that takes TLS off."""
    host, port = gateway.address
    for origin in (f"http://{host}:{port}", f"https://{host}:{port}"):
        answer = gateway.http.post("/v1/images", content=picture, headers={"origin": origin})
        assert answer.status_code == 201
    other = {"origin": f"http://{host}:{port + 1}"}
    assert kind(gateway.problem("POST", "/v1/images", content=picture, headers=other)) == "origin"


def test_pages_of_any_origin(start: Start, picture: bytes) -> None:
    gateway = start(origins=("*",))
    answer = gateway.http.post("/v1/images", content=picture, headers={"origin": "null"})
    assert answer.status_code == 201
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"hosts": ("https://gateway.example",)}, "hosts"),
        ({"hosts": ("gateway.example:443",)}, "hosts"),
        ({"origins": ("app.example",)}, "origins"),
        ({"origins": ("https://app.example/",)}, "origins"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": 30, "max_timeout": 10}, "max_timeout"),
        ({"max_requests": 0}, "max_requests"),
        ({"max_active_bytes": 0}, "max_active_bytes"),
        ({"max_image_bytes": -1}, "max_image_bytes"),
    ],
)
def test_settings_that_are_wrong(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(SettingsError, match=f"^{expected}: expected"):
        GatewaySettings(**settings)  # type: ignore[arg-type]
