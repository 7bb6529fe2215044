"""An HTTP proxy that notes what it is asked, and a host behind it that speaks TLS."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.reports.vendors import Listener


class Proxy(Listener):
    """Leads every host to one port of this machine. `answers`: what it says to CONNECT instead of opening a tunnel."""

    def __init__(self, leads_to: int, answers: bytes | None = None) -> None:
        self.leads_to = leads_to
        self.answers = answers
        self.heads: list[str] = []
        super().__init__()

    @property
    def tunnels(self) -> list[str]:
        """The first lines of what it was asked."""
        return [head.partition("\r\n")[0] for head in self.heads]

    def _serve(self, caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                if not (part := caller.recv(65_536)):
                    return
                data += part
            head, _, rest = data.partition(b"\r\n\r\n")
            self.heads.append(head.decode("latin-1"))
            if self.answers is not None:
                caller.sendall(self.answers)
                caller.shutdown(socket.SHUT_WR)
                caller.recv(1)
                return
            with socket.create_connection(("127.0.0.1", self.leads_to)) as host:
                if head.startswith(b"CONNECT"):
                    caller.sendall(b"HTTP/1.1 200 Connection established\r\nvia: proxy\r\n\r\n")
                    host.sendall(rest)
                else:
                    # As proxies do: the host sees a path, and not what is meant for the proxy.
                    lines = [
                        line for line in head.split(b"\r\n") if not line.lower().startswith(b"proxy-authorization")
                    ]
                    method, url, version = lines[0].split(b" ")
                    lines[0] = b" ".join((method, b"/" + url.split(b"/", 3)[3], version))
                    host.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + rest)
                back = threading.Thread(target=copy, args=(host, caller), daemon=True)
                back.start()
                copy(caller, host)
                back.join(5)


def copy(source: socket.socket, sink: socket.socket) -> None:
    """Until the source ends, or one of them is closed."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate for `name` that vouches for itself, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    place = folder / f"{name}.pem"
    place.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place)
    return place, context


class SecureHost(Listener):
    """Answers every request with the same bytes, by TLS; keeps its heads."""

    def __init__(self, tls: ssl.SSLContext, answer: Callable[[str], bytes]) -> None:
        self.heads: list[str] = []
        self._answer = answer
        self._tls = tls
        super().__init__()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), self._tls.wrap_socket(connection, server_side=True) as secured:
            reader = secured.makefile("rb")
            while line := reader.readline():
                lines = [line]
                while (line := reader.readline()).strip():
                    lines.append(line)
                head = b"".join(lines).decode("latin-1")
                self.heads.append(head)
                lengths = [each.partition(":")[2] for each in head.lower().splitlines() if "content-length" in each]
                reader.read(int(lengths[0]) if lengths else 0)
                secured.sendall(self._answer(head))
