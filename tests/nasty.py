"""Servers on loopback that misbehave, one way each, on raw sockets."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

GOOD = b'{"output":"found"}'
LONGEST_S = 30.0
"""No behaviour goes on for longer, whatever the client does."""


@dataclass
class Conn:
    """One accepted connection and what was read of its request."""

    sock: socket.socket
    number: int
    stop: threading.Event
    head: bytes = b""
    body: bytes = b""

    def read(self) -> bool:
        """One whole request; False where the other side is gone."""
        data = b""
        while b"\r\n\r\n" not in data:
            got = self.sock.recv(65536)
            if not got:
                return False
            data += got
        self.head, _, body = data.partition(b"\r\n\r\n")
        lowered = self.head.lower()
        length = 0
        if b"content-length: " in lowered:
            length = int(lowered.split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += self.sock.recv(65536)
        self.body = body
        return True

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes, status: str = "200 OK", extra: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        self.send(head.encode("latin-1") + body)

    def drip(self, data: bytes, gap_s: float = 0.05) -> None:
        for byte in data:
            if self.stop.wait(gap_s):
                return
            self.send(bytes([byte]))

    def hang(self) -> None:
        self.stop.wait(LONGEST_S)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Behaviour = Callable[[Conn], None]


@dataclass
class Serving:
    """Where it listens, and how many connections it has seen."""

    port: int
    stop: threading.Event
    seen: list[int] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def serving(behave: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[Serving]:
    """A server whose every connection is treated by `behave`."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    listener.settimeout(0.05)
    running = Serving(listener.getsockname()[1], threading.Event())

    def treat(sock: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            sock.settimeout(LONGEST_S)
            if tls is not None:
                sock = tls.wrap_socket(sock, server_side=True)
            behave(Conn(sock, number, running.stop))
        with contextlib.suppress(OSError):
            sock.close()

    def accept() -> None:
        while not running.stop.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                continue
            running.seen.append(1)
            thread = threading.Thread(target=treat, args=(sock, len(running.seen)), daemon=True)
            running.threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield running
    finally:
        running.stop.set()
        accepting.join(5)
        for thread in running.threads:
            thread.join(5)
        listener.close()


def after_request(act: Behaviour) -> Behaviour:
    """Read one request first."""

    def behave(conn: Conn) -> None:
        if conn.read():
            act(conn)

    return behave


def says(body: bytes, status: str = "200 OK", extra: str = "") -> Behaviour:
    return after_request(lambda conn: conn.answer(body, status, extra))


def raw(data: bytes) -> Behaviour:
    return after_request(lambda conn: conn.send(data))


def endless(piece: bytes, before: bytes = b"") -> Behaviour:
    def act(conn: Conn) -> None:
        conn.send(before)
        until = time.monotonic() + LONGEST_S
        while not conn.stop.is_set() and time.monotonic() < until:
            conn.send(piece)

    return after_request(act)


def every_other(conn: Conn) -> None:
    """Answers every second request only."""
    count = 0
    while conn.read():
        count += 1
        conn.answer(*((GOOD,) if count % 2 == 0 else (b"{}", "503 Down")))


def closes_after_saying_keep_alive(conn: Conn) -> None:
    if conn.read():
        conn.answer(GOOD, extra="Connection: keep-alive\r\n")


def starts_the_body_then(act: Behaviour) -> Behaviour:
    def behave(conn: Conn) -> None:
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + GOOD)
        act(conn)

    return after_request(behave)


def starts_the_head_then(act: Behaviour) -> Behaviour:
    def behave(conn: Conn) -> None:
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        act(conn)

    return after_request(behave)


def _drip_body(conn: Conn) -> None:
    conn.drip(b"x" * 600)


BOMB = gzip.compress(b"\0" * (64 * 1024 * 1024))
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

FAULTS: dict[str, Behaviour] = {
    "a reset at once": Conn.reset,
    "a reset after the request": after_request(Conn.reset),
    "a reset in the head": starts_the_head_then(Conn.reset),
    "a reset in the body": starts_the_body_then(Conn.reset),
    "a close without a word": after_request(lambda conn: None),
    "silence": after_request(Conn.hang),
    "a head byte by byte": after_request(lambda conn: conn.drip(b"HTTP/1.1 200 OK\r\nX-A: " * 40)),
    "a body byte by byte": starts_the_body_then(_drip_body),
    "a gzip bomb": says(BOMB, extra="Content-Encoding: gzip\r\n"),
    "a gzip bomb that says it is plain JSON": says(BOMB[:60_000]),
    "a length that is too long": starts_the_body_then(Conn.hang),
    "a length that is too short": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + GOOD),
    "two lengths": raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\nContent-Length: 3\r\n\r\n" + GOOD
    ),
    "a length that is no number": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + GOOD),
    "a flood of headers": endless(b"X-Flood: " + b"a" * 8000 + b"\r\n", b"HTTP/1.1 200 OK\r\n"),
    "a header of a megabyte": raw(
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 1_000_000 + b"\r\nContent-Length: 18\r\n\r\n" + GOOD
    ),
    "a 100 and nothing more": after_request(
        lambda conn: (conn.send(b"HTTP/1.1 100 Continue\r\n\r\n"), conn.hang())[1]
    ),
    "a storm of 1xx": endless(b"HTTP/1.1 102 Processing\r\n\r\n"),
    "a 204 with a body": raw(b"HTTP/1.1 204 No Content\r\n\r\n" + GOOD),
    "an empty 200": says(b""),
    "HTML with a 200": says(b"<html><b>hello</b></html>", extra="Content-Type: text/html\r\n"),
    "bytes that are no UTF-8": says(b'{"output":"\xff\xfe"}'),
    "a byte order mark": says(b"\xef\xbb\xbf" + GOOD),
    "NaN": says(b'{"output":NaN}'),
    "JSON 100 000 levels deep": says(b'{"output":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "an output that is no text": says(b'{"output":{"a":1}}'),
    "the answer to another call": says(b'{"call_id":"call_other","output":"x"}'),
    "another protocol": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a status that is none": raw(b"HTTP/1.1 999999 What\r\n\r\n"),
    "a chunk that lies": raw(CHUNKED + b"FFFFFFFFFFFFFFFFF\r\n" + GOOD),
    "chunks that break off": raw(CHUNKED + b"5\r\n{"),
    "a redirect to itself": after_request(
        lambda conn: conn.answer(b"", "302 Found", "Location: /\r\n")
    ),
    "a 503 page": says(b"<html>down</html>", "503 Down"),
}
"""Each ends as a fault: nobody's answer, never trained on."""

ERRORS: dict[str, Behaviour] = {
    "chunks without end": endless(b"1000\r\n" + b"x" * 4096 + b"\r\n", CHUNKED),
    "a body without end": endless(b"x" * 65536, b"HTTP/1.1 200 OK\r\n\r\n"),
    "a length of 10 GB": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n{"),
    "a text of 10 MB": says(b'{"output":"' + b"x" * 10_000_000 + b'"}'),
    "a 429 that asks for a long wait": says(b"{}", "429 Slow", "Retry-After: 99999999999\r\n"),
    "a 404 of a gateway": says(b"<html>no such page</html>", "404 Not Found"),
}
"""Each is shown to the model."""

ANSWERS: dict[str, Behaviour] = {
    "duplicate keys, of which the last counts": says(b'{"output":"lost","output":"found"}'),
    "a connection that closes after saying keep-alive": closes_after_saying_keep_alive,
    "one that answers every other time": every_other,
    "an answer after some 1xx": after_request(
        lambda conn: (conn.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3), conn.answer(GOOD))[1]
    ),
}
"""Each is an answer in the end."""


@dataclass(frozen=True)
class Authority:
    """Certificates for loopback, by an authority that a test trusts."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    cert: x509.Certificate

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def server(self, *, host: str = "127.0.0.1", days: int = 1) -> ssl.SSLContext:
        """A server's context; negative `days`: it has expired."""
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
        with contextlib.suppress(ValueError):
            name: x509.GeneralName = x509.IPAddress(ip_address(host))
        if not host.replace(".", "").isdigit():
            name = x509.DNSName(host)
        cert = (
            x509.CertificateBuilder()
            .subject_name(_name(host))
            .issuer_name(self.cert.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=30))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
            .sign(self.key, hashes.SHA256())
        )
        path = self.folder / f"{host}-{days}.pem"
        path.write_bytes(_pem(cert, key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def authority(folder: Path, name: str = "Test authority") -> Authority:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    made = Authority(folder, key, cert)
    made.file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    return made


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def rpc(conn: Conn) -> dict[str, object]:
    """The JSON-RPC message of the request that was read."""
    made: dict[str, object] = json.loads(conn.body or b"{}")
    return made
