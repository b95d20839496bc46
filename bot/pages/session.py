"""Who is signed in: a cookie that the API token vouches for; nothing is stored here."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

LASTS_SECONDS: Final = 30 * 86_400
_COOKIE: Final = re.compile(r"([0-9]{1,12})\.([0-9a-f]{64})")
_LOCAL: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")


class Sessions:
    """Begins, knows and ends sessions. Another token ends all that the old one vouched for."""

    def __init__(self, *, token: str, public_url: str) -> None:
        """Without a token (`""`) nobody is ever signed in."""
        self._token = token.encode()
        url = urlsplit(public_url)
        self._origin = f"{url.scheme}://{url.netloc}"
        self._secure = url.scheme == "https"
        self._name = "__Host-pushlane" if self._secure else "pushlane"

    @property
    def possible(self) -> bool:
        """Whether anybody can sign in at all."""
        return bool(self._token)

    def opens(self, token: str) -> bool:
        """Whether this is the API token, in a time that tells nothing of it."""
        given = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        right = hashlib.sha256(self._token).digest()
        return hmac.compare_digest(given, right) and self.possible

    def known(self, request: Request) -> bool:
        """Whether the request comes from someone who has signed in."""
        found = _COOKIE.fullmatch(request.cookies.get(self._name, ""))
        if found is None or not self.possible:
            return False
        age = int(time.time()) - int(found[1])
        vouched = hmac.compare_digest(found[2], self._voucher(found[1]))
        return vouched and 0 <= age <= LASTS_SECONDS

    def begin(self, response: Response) -> None:
        """Sets the cookie: when it began, and that the token vouches for that."""
        began = str(int(time.time()))
        self._set(response, f"{began}.{self._voucher(began)}", LASTS_SECONDS)

    def end(self, response: Response) -> None:
        """Takes the cookie away."""
        self._set(response, "", 0)

    def wrote(self, request: Request) -> bool:
        """Whether a POST comes from a page of ours, by what the browser itself says of it."""
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            return site == "same-origin"
        host = request.headers.get("host", "")
        ours = {self._origin, f"http://{host}", f"https://{host}"}
        return request.headers.get("origin", "") in ours and bool(host)

    def _voucher(self, began: str) -> str:
        return hmac.new(self._token, b"pushlane session " + began.encode(), "sha256").hexdigest()

    def _set(self, response: Response, value: str, seconds: int) -> None:
        response.set_cookie(
            self._name,
            value,
            max_age=seconds,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )


def local(path: str) -> str:
    r"""`path` when it leads to a page here, else `/`: a sign-in forwards to nowhere else.

    Browsers drop tabs and line ends in a URL and read `\` as `/`, so none of them may be in it.
    """
    return path if _LOCAL.fullmatch(path) else "/"
