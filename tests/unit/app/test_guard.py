import asyncio
from base64 import b64encode

import pytest

from vqgen.app import guard
from vqgen.app.guard import Guard, Rules


async def hello(scope, receive, send):
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message.get("more_body"):
            break
    headers = [(b"x-content-type-options", b"own"), (b"x-own", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body or b"hello"})


def answer(rules, path="/", parts=(b"",), **headers):
    """Returns the status, the headers and the body of the answer; None for a request that nobody answers."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = False
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    named = {"host": "localhost:7860"} | headers
    scope = {
        "type": "http",
        "path": path,
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()],
    }
    asyncio.run(Guard(hello, rules)(scope, receive, send))
    return (sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]) if sent else None


OPEN = Rules(request_bytes=100)


def test_browser_is_told_to_load_and_send_nothing_elsewhere():
    status, headers, body = answer(OPEN)
    assert (status, body) == (200, b"hello")
    policy = headers[b"content-security-policy"].decode()
    assert "default-src 'self'" in policy and "http" not in policy and "*" not in policy
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"x-own"] == b"1"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:7860", "[::1]:7860"])
def test_names_of_this_machine_are_served(host):
    assert answer(OPEN, host=host)[0] == 200


def test_stranger_who_leads_a_name_here_is_refused():
    status, _, body = answer(OPEN, host="evil.example:7860")
    assert status == 403 and b"localhost" in body
    assert answer(Rules(100, only_loopback=False), host="page.example")[0] == 200


def test_page_of_a_stranger_sends_no_requests():
    assert answer(OPEN, origin="http://evil.example")[0] == 403
    assert answer(OPEN, origin="null")[0] == 403
    assert answer(OPEN, origin="http://localhost:7860")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/monitoring",
        "/docs",
        "/gradio_api/proxy=http://a/",
        "/gradio_api/file=http://a/b",
        "/gradio_api/file=http:%2F%2Fa",
    ],
)
def test_other_addresses_of_gradio_are_closed(path):
    assert answer(OPEN, path)[0] == 404


def test_unknown_function_is_no_fault_of_the_server():
    rules = Rules(100, endpoints=frozenset({"generate"}))
    assert answer(rules, "/gradio_api/call/generate")[0] == 200
    assert answer(rules, "/gradio_api/call/v2/generate/id")[0] == 200
    assert answer(rules, "/gradio_api/call/other")[0] == 404


def basic(text):
    return "Basic " + b64encode(text.encode()).decode()


def test_password_is_asked_for_at_every_address(monkeypatch):
    monkeypatch.setattr(guard, "_WAIT", 0)
    rules = Rules(100, password="señor:x", only_loopback=False)
    status, headers, _ = answer(rules, "/gradio_api/info")
    assert status == 401 and headers[b"www-authenticate"].startswith(b"Basic")
    assert answer(rules, authorization=basic("vqgen:señor:x"))[0] == 200
    for wrong in ("vqgen:other", "other:señor:x", "vqgen:"):
        assert answer(rules, authorization=basic(wrong))[0] == 401
    for damaged in ("Basic", "Basic ???", "Bearer " + basic("vqgen:señor:x")[6:], "Basic ñ"):
        assert answer(rules, authorization=damaged)[0] == 401


def test_long_requests_are_cut_off():
    assert answer(OPEN, content_length="100")[0] == 200
    assert answer(OPEN, content_length="101")[0] == 413
    assert answer(OPEN, content_length="-1")[0] == 413
    assert answer(OPEN, content_length="9" * 5000)[0] == 413
    assert answer(OPEN, parts=(b"a" * 60, b"a" * 40))[0] == 200
    assert answer(OPEN, parts=(b"a" * 60, b"a" * 41)) is None


def test_client_that_leaves_is_no_fault_and_other_errors_are():
    class ClientDisconnect(Exception):
        pass

    def serve(error):
        async def served(scope, receive, send):
            raise error

        asyncio.run(
            Guard(served, OPEN)({"type": "http", "path": "/", "headers": [(b"host", b"localhost")]}, None, None)
        )

    serve(ClientDisconnect())
    with pytest.raises(KeyError):
        serve(KeyError())


def test_websocket_is_refused():
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(hello, OPEN)({"type": "websocket", "path": "/", "headers": []}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_list_of_functions_finds_its_figures_empty():
    assert answer(OPEN, "/monitoring/summary")[2] == b'{"functions": {}}\n'
    assert answer(Rules(100, password="x"), "/monitoring/summary")[0] == 401
