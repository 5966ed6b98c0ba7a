"""Who is asking: the token of a request or a WebSocket, and the scope it must have."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from services.chassis.faults import StartRefused
from services.chassis.http import Problem
from services.chassis.tokens import Access, Scope, TokenStore

SUBPROTOCOL = "assize.v1"
_TOKEN_PROTOCOL = "assize.token."  # noqa: S105  a prefix, not a secret
_BEARER = {"WWW-Authenticate": 'Bearer realm="assize"'}


class Doorkeeper:
    """Lets in who has a token with scope `read`."""

    def __init__(self, tokens: TokenStore) -> None:
        self._tokens = tokens

    def admit(self, connection: HTTPConnection) -> Access:
        """The access of a request.

        Raises:
            Problem: 401 without a known token, 403 without scope `read`.
        """
        token = _token_of(connection)
        if token is None:
            raise Problem(
                status=401,
                code="no_token",
                title="A token is needed",
                detail="expected `Authorization: Bearer <token>`, came none",
                headers=_BEARER,
            )
        try:
            access = self._tokens.access(token)
        except StartRefused as error:
            raise Problem(
                status=503, code="tokens_unreadable", title="Tokens cannot be checked", detail=str(error)
            ) from error
        if access is None:
            raise Problem(
                status=401,
                code="unknown_token",
                title="The token is not known",
                detail="expected a token of this installation, came another",
                headers=_BEARER,
            )
        if Scope.READ not in access.scopes:
            raise Problem(
                status=403,
                code="scope_missing",
                title="The token does not allow this",
                detail=f"expected scope read, came {sorted(access.scopes)}",
            )
        return access


def offered_subprotocol(connection: HTTPConnection) -> str | None:
    """The subprotocol to answer with: a browser insists on one of those that it offered."""
    offered = _offered(connection)
    if SUBPROTOCOL in offered:
        return SUBPROTOCOL
    return next((entry for entry in offered if entry.startswith(_TOKEN_PROTOCOL)), None)


def _token_of(connection: HTTPConnection) -> str | None:
    kind, _, token = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    if connection.scope["type"] != "websocket":
        return None
    offered = (entry for entry in _offered(connection) if entry.startswith(_TOKEN_PROTOCOL))
    found = next(offered, None)
    return None if found is None else found.removeprefix(_TOKEN_PROTOCOL)


def _offered(connection: HTTPConnection) -> list[str]:
    """A browser cannot set headers on a WebSocket; what it offers as subprotocols is its way to say who it is."""
    return [entry.strip() for entry in connection.headers.get("sec-websocket-protocol", "").split(",") if entry.strip()]
