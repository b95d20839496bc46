"""The API of one server, over HTTP: one request, its answer, or one of our own errors."""

from __future__ import annotations

import os
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx2
import msgspec

from bot.cli.credentials import Credentials, is_loopback
from bot.cli.failures import Unreachable, wrong
from bot.core.errors import PushlaneError, Rejected, SettingInvalid

T = TypeVar("T")
_API: Final = "/api/v1"
_PAUSES: Final = (0.3, 1.0)
"""Between the three tries of a request, in seconds."""
_CA_BUNDLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 5.0
_TIMEOUT: Final = httpx2.Timeout(_SECONDS, connect=_CONNECT_SECONDS)
_SILENCE: Final = httpx2.Timeout(45.0, connect=_CONNECT_SECONDS)
"""A stream that is silent for longer is opened anew: its other end may be long gone."""


class Server:
    """One server, spoken to with one token. A context, closed at its end."""

    def __init__(self, credentials: Credentials) -> None:
        self.url = credentials.url
        # A company's proxy is not for this machine.
        direct = is_loopback(self.url)
        self._client = httpx2.Client(
            headers={
                "Authorization": f"Bearer {credentials.token}",
                "User-Agent": f"pushlane/{version('pushlane')}",
                "Accept": "application/json, application/problem+json",
            },
            verify=_trust(self.url),
            trust_env=not direct,
            timeout=_TIMEOUT,
            follow_redirects=False,  # the token is for this server only
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def get(self, path: str, **parameters: str | int) -> Any:
        """What the API answers to a GET, decoded; empty parameters are left out.

        Raises:
            Rejected: The server refuses, or is no Pushlane.
            Unreachable: It does not answer, in three tries.
        """
        asked = {name: value for name, value in parameters.items() if value != ""}
        return self._tried(lambda: self._sent("GET", path, params=asked))

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, seconds: float = _SECONDS
    ) -> Any:
        """What the API answers to a POST, which may take `seconds`.

        It is tried again under the same key, so it is done once. Raises as `get` does.
        """
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        timeout = httpx2.Timeout(seconds, connect=_CONNECT_SECONDS)
        return self._tried(
            lambda: self._sent("POST", path, json=body or {}, headers=headers, timeout=timeout)
        )

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the API answers to a PUT, which may be repeated. Raises as `get` does."""
        return self._tried(lambda: self._sent("PUT", path, json=body))

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """What it answers to a PATCH that may be repeated. Raises as `get` does."""
        return self._tried(lambda: self._sent("PATCH", path, json=body))

    def delete(self, path: str, **parameters: str) -> Any:
        """What it answers to a DELETE, sent once. Raises as `get` does."""
        asked = {name: value for name, value in parameters.items() if value != ""}
        return self._sent("DELETE", path, params=asked)

    def text(self, path: str) -> Iterator[str]:
        """The lines of a text, as they come."""
        with self._answering(), self._client.stream("GET", self._at(path)) as response:
            _check(response)
            rest = ""
            for part in response.iter_text():
                *lines, rest = (rest + part).split("\n")
                yield from lines
            if rest:
                yield rest

    @contextmanager
    def events(self, path: str, *, last_id: str) -> Iterator[Iterator[httpx2.ServerSentEvent]]:
        """Server-sent events after the one called `last_id`; from the first, when that is empty.

        Raises `Unreachable` also when the connection breaks.
        """
        headers = {"Last-Event-ID": last_id} if last_id else {}
        with (
            self._answering(),
            self._client.sse(
                self._at(path), params={"follow": 1}, headers=headers, timeout=_SILENCE
            ) as source,
        ):
            _check(source.response)
            yield iter(source)

    def _at(self, path: str) -> str:
        return f"{self.url}{_API}{path}"

    def _sent(self, method: str, path: str, **words: Any) -> Any:
        with self._answering():
            response = self._client.request(method, self._at(path), **words)
        _check(response)
        try:
            return msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise _no_pushlane(response) from None

    def _tried(self, send: Callable[[], T]) -> T:
        for pause in _PAUSES:
            try:
                return send()
            except Unreachable:
                time.sleep(pause)
        return send()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turns what the client raises into our own errors."""
        try:
            yield
        except httpx2.TimeoutException as error:
            raise Unreachable(f"{self.url} does not answer in time") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            said = str(error) or type(error).__name__
            if "CERTIFICATE_VERIFY_FAILED" in said:
                said += "; SSL_CERT_FILE names the CA bundle to trust"
            if "refused" in said.lower() and is_loopback(self.url):
                said += "; start one here by `pushlane up`"
            raise Unreachable(f"{self.url} cannot be reached: {said}") from error


def _trust(url: str) -> ssl.SSLContext:
    """Whom to trust: the CA bundle that the environment names, else the system's."""
    if url.startswith("http:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # not used; loading authorities takes time
    for name in _CA_BUNDLES:
        if place := os.environ.get(name):
            try:
                return ssl.create_default_context(cafile=place)
            except OSError as error:
                raise SettingInvalid(
                    name, f"is {place!r}, which is no CA bundle that can be read"
                ) from error
    return httpx2.create_ssl_context()


def _check(response: httpx2.Response) -> None:
    """Raises what an answer other than a success means."""
    if response.is_success:
        return
    response.read()
    raise _problem(response)


def _problem(response: httpx2.Response) -> PushlaneError:
    status = response.status_code
    if response.is_redirect:
        place = response.headers.get("location", "another place")
        return wrong(
            f"the server sends us on to {place}; name its own URL by `pushlane login URL`",
            code="redirected",
        )
    detail, code = _told(response)
    if status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        return Unreachable(detail or _answered(response), code=code or "server_failed")
    if not code:
        return _no_pushlane(response)
    return Rejected(detail, code=code, http_status=status)


def _told(response: httpx2.Response) -> tuple[str, str]:
    """Detail and code of a problem document; empty where it is none."""
    try:
        problem = msgspec.json.decode(response.content)
        return str(problem.get("detail") or problem.get("title") or ""), str(problem["code"])
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        return "", ""


def _no_pushlane(response: httpx2.Response) -> Rejected:
    return wrong(
        f"{_answered(response)}, and not as a Pushlane does; is the URL right?",
        code="not_pushlane",
    )


def _answered(response: httpx2.Response) -> str:
    host = response.request.url.netloc.decode("ascii")
    return f"{host} answered {response.status_code} {response.reason_phrase}"
