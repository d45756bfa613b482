"""Pictures come from where the operator says, within bounds; the token goes to its own origin."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from picture_site import Handler, Site, picture_site, reply

from slimsam_gateway.fetching import Fetched, Fetcher, Sources, origin_of
from slimsam_gateway.fetching.addresses import is_public
from slimsam_gateway.fetching.origins import parse
from slimsam_gateway.problems import PICTURE_FETCH, PICTURE_SOURCE, Problem

TOKEN = "a-secret-of-40-characters"
PICTURE = b"a picture, as far as a fetcher knows"


@pytest.fixture
def home() -> Iterator[Site]:
    with picture_site() as site:
        yield site


@pytest.fixture
def other() -> Iterator[Site]:
    with picture_site() as site:
        yield site


def fetched(
    home: Site,
    url: str = "/pic.png",
    etag: str | None = None,
    public: tuple[str, ...] = (),
    private: tuple[str, ...] = (),
    token: str = TOKEN,
    seconds: float = 60,
) -> Fetched:
    sources = Sources(home.url, frozenset(public), frozenset(private))
    return asyncio.run(Fetcher(sources, token, 1000, seconds).fetch(url, etag))


def refused(home: Site, *args: Any, **options: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        fetched(home, *args, **options)
    problem = caught.value
    assert TOKEN not in problem.detail and "sig=" not in problem.detail
    return problem


def test_a_picture_of_the_home_origin(home: Site) -> None:
    home.serve("/data/a%20b.png?n=1", PICTURE, '"one"')
    assert fetched(home, "/data/a b.png?n=1") == Fetched(PICTURE, '"one"')
    assert fetched(home, f"{home.url}/data/a%20b.png?n=1", '"one"') == Fetched(None, '"one"')
    for _, headers in home.asked:
        assert headers["authorization"] == f"Token {TOKEN}"
        assert headers["accept-encoding"] == "identity"
        assert headers["accept"] == "*/*"  # Label Studio answers 406 to less


def test_another_origin_is_asked_only_if_it_is_configured(home: Site, other: Site) -> None:
    other.serve("/pic.png", PICTURE)
    address = f"{other.url}/pic.png"
    assert refused(home, address).kind is PICTURE_SOURCE
    assert other.asked == []
    assert fetched(home, address, private=(other.url,)).content == PICTURE
    [(_, headers)] = other.asked
    assert "authorization" not in headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_leads_to_configured_origins_alone(home: Site, other: Site, status: int) -> None:
    other.serve("/kept.png?sig=secret", PICTURE)
    home.redirect("/pic.png", f"{other.url}/kept.png?sig=secret", status)
    problem = refused(home)
    assert problem.kind is PICTURE_SOURCE and other.url in problem.detail
    assert other.asked == []
    assert fetched(home, private=(other.url,)).content == PICTURE
    [(_, headers)] = other.asked
    assert "authorization" not in headers and TOKEN not in str(headers)


def test_a_redirect_within_the_home_origin(home: Site) -> None:
    home.redirect("/pic.png", "files/1.png")
    home.serve("/files/1.png", PICTURE)
    assert fetched(home).content == PICTURE


def test_a_redirect_from_elsewhere_brings_the_token_home_alone(home: Site, other: Site) -> None:
    other.redirect("/pic.png", f"{home.url}/pic.png")
    home.serve("/pic.png", PICTURE)
    assert fetched(home, f"{other.url}/pic.png", private=(other.url,)).content == PICTURE
    assert "authorization" not in other.asked[0][1]


def test_redirects_end(home: Site) -> None:
    home.redirect("/pic.png", "/pic.png")
    assert refused(home).kind is PICTURE_FETCH
    assert len(home.asked) == 5


def test_a_name_that_leads_to_loopback(home: Site, other: Site) -> None:
    """A public origin has to be at a public address, also behind a redirect."""
    other.serve("/pic.png", PICTURE)
    address = f"{other.by_name}/pic.png"
    problem = refused(home, address, public=(other.by_name,))
    assert problem.kind is PICTURE_SOURCE and "--private-picture-origin" in problem.detail
    home.redirect("/pic.png", address)
    assert refused(home, public=(other.by_name,)).kind is PICTURE_SOURCE
    assert other.asked == []
    assert fetched(home, private=(other.by_name,)).content == PICTURE
    assert other.asked[0][1]["host"] == f"localhost:{other.port}"


def test_the_address_that_was_checked_is_the_one_that_is_asked(
    home: Site, other: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look-up might lead elsewhere (DNS rebinding), and one bad address is too many."""

    async def both(host: str, port: int) -> list[str]:
        return ["93.184.216.34", "127.0.0.1"]

    monkeypatch.setattr("slimsam_gateway.fetching.fetcher.addresses_of", both)
    name = f"http://pictures.example:{other.port}"
    assert refused(home, f"{name}/pic.png", public=(name,)).kind is PICTURE_SOURCE
    assert other.asked == []

    async def only(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr("slimsam_gateway.fetching.fetcher.addresses_of", only)
    other.serve("/pic.png", PICTURE)
    nowhere = f"http://no-such-name.invalid:{other.port}"  # a second look-up would fail
    assert fetched(home, f"{nowhere}/pic.png", private=(nowhere,)).content == PICTURE


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/pic.png",
        "data:image/png;base64,AAAA",
        "s3://bucket/pic.png",
        "//elsewhere.example/pic.png",
        "http://[::1/pic.png",
        "http://127.0.0.1:0/pic.png",
        "http://127.0.0.1:99999/pic.png",
        "http:\\\\elsewhere.example\\pic.png",
        "/pic.png\r\nX-Header: 1",
        "/" + "x" * 5000,
    ],
)
def test_addresses_that_are_none(home: Site, url: str) -> None:
    assert refused(home, url).kind is PICTURE_SOURCE
    assert home.asked == []


def test_a_user_before_the_host_hides_no_other_host(home: Site) -> None:
    host = home.url.removeprefix("http://")
    assert refused(home, f"http://{host}@elsewhere.example/").kind is PICTURE_SOURCE
    assert refused(home, f"http://me:secret@{host}/pic.png").kind is PICTURE_SOURCE
    assert home.asked == []


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "image/png")
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(2**16))


def test_an_endless_body_is_not_read_to_its_end(home: Site) -> None:
    home.pages["/pic.png"] = endless
    problem = refused(home)
    assert problem.kind is PICTURE_FETCH and "at most 1,000 bytes" in problem.detail


def test_a_body_that_says_it_is_too_long(home: Site) -> None:
    home.serve("/pic.png", PICTURE, Content_Length="1001")
    assert "at most 1,000 bytes" in refused(home).detail


def test_a_slow_body(home: Site) -> None:
    def slow(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"x")
        home.ending.wait()

    home.pages["/pic.png"] = slow
    problem = refused(home, seconds=0.5)
    assert problem.kind is PICTURE_FETCH and "within 0.5 s" in problem.detail


def test_a_body_that_ends_too_early(home: Site) -> None:
    home.serve("/pic.png", PICTURE, Content_Length="100")
    assert refused(home).kind is PICTURE_FETCH


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Content_Type": "text/html; charset=utf-8"}, "text/html"),
        ({"Content_Type": "application/json"}, "application/json"),
        ({"Content_Encoding": "gzip"}, "gzip"),
    ],
)
def test_wrong_content(home: Site, headers: dict[str, str], said: str) -> None:
    home.serve("/pic.png", PICTURE, **headers)
    problem = refused(home)
    assert problem.kind is PICTURE_FETCH and said in problem.detail


@pytest.mark.parametrize("kind", ["image/jpeg", "binary/octet-stream", "application/octet-stream"])
def test_right_content(home: Site, kind: str) -> None:
    home.serve("/pic.png", PICTURE, Content_Type=kind)
    assert fetched(home).content == PICTURE


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused(home: Site, status: int) -> None:
    home.pages["/pic.png"] = lambda handler: reply(handler, status, b"")
    problem = refused(home)
    assert problem.kind is PICTURE_FETCH and "look at the token" in problem.detail


def test_nobody_answers(home: Site) -> None:
    with picture_site() as gone:
        url = gone.url
    assert refused(home, f"{url}/pic.png", private=(url,)).kind is PICTURE_FETCH
    assert refused(home, "http://no-such.invalid/", private=("http://no-such.invalid",))


def test_an_answer_that_is_no_http(home: Site) -> None:
    home.pages["/pic.png"] = lambda handler: (
        handler.wfile.write(b"220 mail.example\r\n\r\n") and None
    )
    assert refused(home).kind is PICTURE_FETCH


def test_an_etag_that_nobody_should_send_back(home: Site) -> None:
    home.serve("/pic.png", PICTURE, ETag="no quotes")
    assert fetched(home).etag is None


def test_https_is_of_a_trusted_certificate_of_the_name(
    home: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    for name, trusted in (("localhost", True), ("elsewhere.example", False)):
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(secure)
        with picture_site(secure) as site:
            site.serve("/pic.png", PICTURE)
            origin = f"https://localhost:{site.port}"
            monkeypatch.delenv("SSL_CERT_FILE", raising=False)
            problem = refused(home, f"{origin}/pic.png", private=(origin,))
            assert problem.kind is PICTURE_FETCH and "certificate" in problem.detail.lower()
            authority.cert_pem.write_to_path(tmp_path / "ca.pem")
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            if trusted:
                found = fetched(home, f"{origin}/pic.png", private=(origin,))
                assert found.content == PICTURE
            else:
                assert refused(home, f"{origin}/pic.png", private=(origin,)).kind is PICTURE_FETCH
                assert site.asked == []


PERSONAL = "header.payload.signature"


def test_a_personal_token_is_exchanged(home: Site, other: Site) -> None:
    """The access token holds for minutes; the personal one goes to its own origin's exchange."""
    given: list[str] = []

    def exchange(handler: Handler) -> None:
        content = handler.rfile.read(int(handler.headers["Content-Length"]))
        assert json.loads(content) == {"refresh": PERSONAL}
        given.append(f"access-{len(given)}")
        reply(handler, 200, json.dumps({"access": given[-1]}).encode())

    def page(handler: Handler) -> None:
        known = handler.headers["Authorization"] == f"Bearer {given[-1]}"
        reply(handler, 200 if known else 401, PICTURE, Content_Type="image/png")

    home.pages |= {"/api/token/refresh": exchange, "/pic.png": page}
    fetcher = Fetcher(Sources(home.url), PERSONAL, 1000, 60)

    async def run() -> None:
        for _ in range(2):
            assert (await fetcher.fetch("/pic.png")).content == PICTURE
        assert len(given) == 1
        given.append("what has expired")
        assert (await fetcher.fetch("/pic.png")).content == PICTURE
        assert len(given) == 3

    asyncio.run(run())
    headers = [headers for path, headers in home.asked if path == "/pic.png"]
    assert not any(PERSONAL in str(one) for one in headers)


@pytest.mark.parametrize("late", [False, True])
def test_two_clicks_at_a_tokens_expiry(home: Site, late: bool) -> None:
    """Both are refused, the second one before or after the exchange that the first one brings."""
    given: list[str] = []
    both, exchanged = threading.Barrier(2), threading.Event()

    def exchange(handler: Handler) -> None:
        given.append(f"access-{len(given)}")
        reply(handler, 200, json.dumps({"access": given[-1]}).encode())
        if len(given) > 2:
            exchanged.set()

    def page(handler: Handler) -> None:
        if handler.headers["Authorization"] == f"Bearer {given[-1]}":
            return reply(handler, 200, PICTURE, Content_Type="image/png")
        if both.wait(60) and late:
            exchanged.wait(60)
        reply(handler, 401, b"")

    home.pages |= {"/api/token/refresh": exchange, "/pic.png": page}
    fetcher = Fetcher(Sources(home.url), PERSONAL, 1000, 60)

    async def run() -> None:
        assert (await fetcher.fetch("/pic.png")).content == PICTURE
        given.append("what has expired")
        clicks = await asyncio.gather(*(fetcher.fetch("/pic.png") for _ in range(2)))
        assert [one.content for one in clicks] == [PICTURE, PICTURE]
        assert (await fetcher.fetch("/pic.png")).content == PICTURE

    asyncio.run(run())
    assert given == ["access-0", "what has expired", "access-2"]


def test_an_exchange_that_nobody_waits_for_any_more(home: Site) -> None:
    """Who was first at it has left: the next one makes it."""
    asked = threading.Event()

    def exchange(handler: Handler) -> None:
        if asked.is_set():
            return reply(handler, 200, b'{"access": "access"}')
        asked.set()
        home.ending.wait()

    home.serve("/pic.png", PICTURE)
    home.pages["/api/token/refresh"] = exchange
    fetcher = Fetcher(Sources(home.url), PERSONAL, 1000, 60)

    async def run() -> None:
        first = asyncio.create_task(fetcher.fetch("/pic.png"))
        assert await asyncio.to_thread(asked.wait, 60)
        second = asyncio.create_task(fetcher.fetch("/pic.png"))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).content == PICTURE

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "content"),
    [(401, b"{}"), (200, b"{}"), (200, b"<html>"), (200, b'{"access":"\\n"}')],
)
def test_an_exchange_that_fails(home: Site, status: int, content: bytes) -> None:
    home.pages["/api/token/refresh"] = lambda handler: reply(handler, status, content)
    problem = refused(home, token=PERSONAL)
    assert problem.kind is PICTURE_FETCH and PERSONAL not in problem.detail
    assert "renew it" in problem.detail


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1%1", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d822", True),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_origins_have_one_form() -> None:
    assert origin_of("HTTPS://Labels.Example:443/") == "https://labels.example"
    assert origin_of("http://[::1]:8080") == "http://[::1]:8080"
    assert parse("x y/ü?q=ü", "http://a.example/b/c").target == "/b/x%20y/%C3%BC?q=%C3%BC"
    for text in ("labels.example", "https://a.example/b", "https://a.example?b", "https://u@a.b"):
        with pytest.raises(ValueError, match="."):
            origin_of(text)
