"""A local HTTP server that speaks the wire formats of OpenAI, Anthropic and Gemini.

Chat completions, Responses, Anthropic's messages and Gemini's `generateContent`, whole and
streamed, each under its own path.

Its answers come from a function of the request, and it keeps every request it was sent, so a test
can count what a real client asked over a real socket::

    with LLMServer(lambda request: Reply("hello")) as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="not-needed", model="gpt-4o-mini")
        model.invoke("hi")
        assert server.calls == 1

Each answer gets fresh random ids, as a real provider's does, so that a repeated call shows.
:func:`main` serves a named function from a process of its own.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from rowtrail.testing._wire import Reply, Usage, Wire, wire_at

__all__ = ["LLMServer", "Reply", "Usage", "main"]

POLL_S = 0.02  # how late an opened gate or a close is seen: tests wait for both


Respond = Callable[[dict[str, Any]], Reply]
Gate = threading.Event | Callable[[dict[str, Any]], object]


class LLMServer:
    """A provider's endpoints on a free port of 127.0.0.1, which count what they are asked.

    `respond` gets the parsed body of each request and runs on that request's thread; if it raises,
    the client gets status 400, which clients do not retry. `gate` holds every answer: an event
    until it is set, a callable until it returns. `log` names a file to which each request is
    appended as one line of JSON, synced to disk before the request is answered.

    Raises:
        OSError: the port is taken, or the log cannot be opened.
    """

    def __init__(
        self, respond: Respond, *, gate: Gate | None = None, log: Path | None = None, port: int = 0
    ) -> None:
        self._exchanges = _Exchanges(respond, gate, log)
        self._http = _HTTPServer(("127.0.0.1", port), partial(_Handler, self._exchanges))
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(POLL_S,), name="llm-server", daemon=True
        )
        self._thread.start()

    @property
    def base_url(self) -> str:
        """The URL to give to a client as `base_url`."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The parsed bodies of the requests so far, in the order of their arrival."""
        return list(self._exchanges.requests)

    @property
    def calls(self) -> int:
        """The number of requests so far, answered or not."""
        return len(self._exchanges.requests)

    @property
    def abandoned(self) -> list[dict[str, Any]]:
        """The requests whose client had gone before its answer was sent."""
        return list(self._exchanges.abandoned)

    def close(self) -> None:
        """Stop the server and drop its connections, waiting calls too; it may be called twice."""
        if self._exchanges.closed.is_set():
            return
        self._exchanges.close()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._http.drop_connections()

    def __enter__(self) -> LLMServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _Exchanges:
    def __init__(self, respond: Respond, gate: Gate | None, log: Path | None) -> None:
        self.requests: list[dict[str, Any]] = []
        self.abandoned: list[dict[str, Any]] = []
        self.closed = threading.Event()
        self._respond = respond
        self._gate = gate
        self._log = None if log is None else log.open("ab", buffering=0)
        self._lock = threading.Lock()

    def record(self, request: dict[str, Any]) -> None:
        with self._lock:
            self.requests.append(request)
            if self._log is not None and not self._log.closed:
                self._log.write(json.dumps(request).encode() + b"\n")
                os.fsync(self._log.fileno())

    def answer(self, request: dict[str, Any]) -> Reply:
        """Return the reply to one request, once the gate and the reply's delay let it through."""
        try:
            self._hold(request)
            reply = self._respond(request)
        except Exception as error:  # the test's code: the client gets the error
            return Reply(f"respond() or gate raised {error!r}", status=HTTPStatus.BAD_REQUEST)
        if reply.delay:
            self.closed.wait(reply.delay)
        return reply

    def close(self) -> None:
        self.closed.set()
        with self._lock:
            if self._log is not None:
                self._log.close()

    def _hold(self, request: dict[str, Any]) -> None:
        gate = self._gate
        if isinstance(gate, threading.Event):
            while not gate.wait(POLL_S) and not self.closed.is_set():
                pass
        elif gate is not None:
            gate(request)


class _HTTPServer(ThreadingHTTPServer):
    """A threading HTTP server that can drop the connections that clients keep open."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], handler: Callable[..., BaseHTTPRequestHandler]
    ) -> None:
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer asks the resolver for its own name here: slow, and a network request.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def drop_connections(self) -> None:
        with self._connections_lock:
            for connection in self._connections:
                with suppress(OSError):  # the client may have been faster
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may leave at any time
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, exchanges: _Exchanges, *args: Any) -> None:
        self._exchanges = exchanges
        super().__init__(*args)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send_error(HTTPStatus.NOT_FOUND, f"{self.command} {self.path} is not served here")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        wire, told = wire_at(self.path.partition("?")[0])
        if wire is None:
            self.do_GET()
            return
        request = _parse(body)
        needs, types = wire.needs
        if request is None or not isinstance(request.get(needs), types):
            says = f"the body is not a JSON object with {needs}"
            self._send_error(HTTPStatus.BAD_REQUEST, says)
            return
        request |= told
        self._exchanges.record(request)
        reply = self._exchanges.answer(request)
        try:
            if self._exchanges.closed.is_set() or self._client_gone():
                raise ConnectionAbortedError
            self._send(wire, request, reply)
        except OSError:
            self.close_connection = True
            self._exchanges.abandoned.append(request)

    def _client_gone(self) -> bool:
        # A write to a dead client's socket succeeds once: look for its end of file instead.
        self.connection.setblocking(False)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        finally:
            self.connection.setblocking(True)

    def _send(self, wire: Wire, request: dict[str, Any], reply: Reply) -> None:
        if reply.status >= HTTPStatus.BAD_REQUEST:
            self._send_error(reply.status, reply.text)
        elif request.get("stream"):
            self._send_stream(wire, request, reply)
        else:
            self._send_json(reply.status, wire.whole(request, reply))

    def _send_error(self, status: int, message: str) -> None:
        phrase = responses.get(status, f"Status {status}")  # providers invent some, such as 529
        error = {"message": message or phrase, "type": phrase, "param": None, "code": None}
        self._send_json(status, {"error": error})

    def _send_json(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_stream(self, wire: Wire, request: dict[str, Any], reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, event in enumerate(wire.events(request, reply)):
            if number and reply.pause:
                self._exchanges.closed.wait(reply.pause)
            data = event.encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        request: Any = json.loads(body)
    except ValueError:
        return None
    return cast("dict[str, Any]", request) if isinstance(request, dict) else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the function named by `--respond module:name` until standard input ends.

    The first line on standard output is the base URL::

        python -c 'from rowtrail.testing import llm; llm.main()' --respond policy:respond
    """
    parser = argparse.ArgumentParser(prog="rowtrail.testing.llm")
    parser.add_argument("--respond", required=True, metavar="MODULE:FUNCTION")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, help="append each request to this file, one per line")
    options = parser.parse_args(arguments)
    module, _, name = options.respond.partition(":")
    respond = getattr(importlib.import_module(module), name)
    with LLMServer(respond, log=options.log, port=options.port) as server:
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()
