"""Protects the board's server: the host names that it accepts, and the Content-Security-Policy of its answers.

Any web page can make its own name resolve to 127.0.0.1 (DNS rebinding), and could then read the board; such a request
contains the page's name in its Host header.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

LOCAL = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)  # a Host header
OF_A_PAGE = "; base-uri 'self'; form-action 'none'; frame-ancestors 'self'"
OF_DATA = "default-src 'none'; sandbox"  # data opened as a page can do nothing

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def local(app: App) -> App:
    """The application, only for requests with a local host name; others get status 421."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "")
        if not LOCAL.fullmatch(host):
            start("421 Misdirected Request", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"The board answers to localhost, 127.0.0.1 and [::1] alone, not to {host!r}.\n".encode()]

        def headed(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start(status, with_policy(headers), *more)

        return app(environ, headed)

    return answer


def with_policy(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Sets the policy: for pages TensorBoard's own, without other servers and without framing; for data the strictest.

    Scripts get none, because it would apply to them when they run as workers.
    """
    found = {name.lower(): value for name, value in headers}
    kind = found.get("content-type", "")
    if "javascript" in kind:
        return headers
    own = found.get("content-security-policy", "default-src 'self'") if kind.startswith("text/html") else ""
    here = re.sub(r" https://[^ ;]+", "", own) + OF_A_PAGE
    rest = [one for one in headers if one[0].lower() != "content-security-policy"]
    return [*rest, ("Content-Security-Policy", here if own else OF_DATA)]
