"""A report that saves decisions, for a browser on this machine alone.

It listens on the loopback interface. Whoever asks must know a random token, the first part of every path; the Host that
is asked for must be this server's own, whatever name an attacker has pointed at this machine; and an Origin, which
browsers send with all that may change something, must be its own page.
"""

import hmac
import os
import secrets
import socket
from typing import TYPE_CHECKING

from propagate.errors import PropagateError, ReviewError
from propagate.review.contents import PAGE, SAVE
from propagate.review.decisions import MOST_BYTES
from propagate.review.desk import Desk

if TYPE_CHECKING:
    from flask import Flask, Response

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")
_TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def require_flask() -> None:
    """Raise ReviewError where Flask is not installed."""
    try:
        import flask  # noqa: F401
    except ImportError:
        raise ReviewError(
            "`propagate review` needs Flask, which the extra `review` brings: pip install 'label-propagation[review]'; "
            "`propagate report` does without"
        ) from None


def make_app(desk: Desk, token: str, port: int) -> "Flask":
    """The application that answers at /TOKEN/, for a server at that port."""
    from flask import Flask, Response, abort, jsonify, request
    from werkzeug.exceptions import HTTPException

    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    hosts = {f"{name}:{port}" for name in _NAMES}

    @app.before_request
    def refuse_strangers() -> "Response | None":
        host, origin = request.headers.get("Host"), request.headers.get("Origin")
        if host not in hosts:
            return _told("asked for by another name than this server's", 403)
        if origin != f"http://{host}" and (origin is not None or request.method not in ("GET", "HEAD")):
            return _told("asked for by another page than this server's", 403)
        given = request.path.removeprefix("/").partition("/")[0]
        if not hmac.compare_digest(given.encode(), token.encode()):
            return _told("nothing here; the address that `propagate review` has printed has a token in it", 404)
        return None

    @app.errorhandler(HTTPException)
    def tell(error: HTTPException) -> "Response":
        return _told(str(error.description), error.code or 500)

    @app.after_request
    def guard(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    @app.get(f"/{token}/")
    @app.get(f"/{token}/<path:name>")
    def file(name: str = PAGE) -> "Response":
        try:
            data = desk.file(name)
        except PropagateError as error:
            return _told(str(error), 500)
        if data is None:
            abort(404)
        return Response(data, content_type=_TYPES[name.rpartition(".")[2]])

    @app.post(f"/{token}/{SAVE}")
    def save() -> "Response":
        if request.mimetype != "application/json":
            return _told("expected decisions as application/json", 415)
        try:
            decisions = desk.parse(request.get_data())
        except ReviewError as error:
            return _told(str(error), 400)
        try:
            version = desk.save(decisions, request.headers.get("If-Match"))
        except ReviewError as error:
            return _told(str(error), 500)
        if version is None:
            return _told("not saved: others were saved since, from another window or program; reload the page", 409)
        return jsonify(saved=len(decisions.samples), version=version)

    return app


def _told(sentence: str, status: int) -> "Response":
    from flask import Response

    return Response(f"{sentence}\n", status, content_type="text/plain; charset=utf-8")


class ReviewServer:
    """A desk, served to this machine until `close`, or a signal. `address` is where; it lets in whoever knows it."""

    def __init__(self, desk: Desk, port: int | None = None) -> None:
        """port: None takes any that is free. Raises: ReviewError where it cannot be listened on."""
        require_flask()
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            """Logs no requests: each of them holds the token."""

            def log(self, type: str, message: str, *args: object) -> None:
                pass

        try:
            listening = socket.create_server((HOST, port or 0))
        except OSError as error:
            raise ReviewError(
                f"port {port}: cannot be listened on ({os.strerror(error.errno or 0)}); give another --port"
            ) from None
        with listening:
            at, token = listening.getsockname()[1], secrets.token_urlsafe(24)
            app = make_app(desk, token, at)
            self._server = make_server(HOST, at, app, threaded=True, request_handler=Quiet, fd=listening.fileno())
        self.address = f"http://{HOST}:{at}/{token}/"

    def serve(self) -> None:
        """Answer until `close` is called from another thread, or a signal interrupts, which ends it silently."""
        self._server.serve_forever()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
