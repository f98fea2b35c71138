"""The built dashboard and the API page, from memory: a request never reaches the file system."""

import hashlib
import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from pms.gateway.docs_page import PAGE, SCRIPT, STYLE
from pms.gateway.errors import ApiError


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as served. `lasting`: its name changes with its content, so it may be cached for a year."""

    content: bytes
    media_type: str
    etag: str
    lasting: bool


def _asset(name: str, content: bytes) -> Asset:
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if name.endswith(".js"):
        media_type = "text/javascript"
    if media_type.startswith("text/"):
        media_type += "; charset=utf-8"
    etag = '"' + hashlib.sha256(content).hexdigest()[:32] + '"'
    return Asset(content, media_type, etag, name.startswith("assets/"))


def _walk(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif not entry.name.startswith(".") and not entry.name.endswith((".py", ".pyc")):
            yield prefix + entry.name, entry.read_bytes()


def load_assets() -> dict[str, Asset]:
    """Read the built dashboard of the package `pms.web`; empty when it was not built."""
    folder = files("pms").joinpath("web")
    return {name: _asset(name, content) for name, content in _walk(folder)} if folder.is_dir() else {}


def _serve(request: Request, asset: Asset) -> Response:
    caching = "public, max-age=31536000, immutable" if asset.lasting else "no-cache"
    headers = {"Cache-Control": caching, "ETag": asset.etag}
    if request.headers.get("if-none-match") == asset.etag:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.media_type)


def add_pages(app: FastAPI) -> None:
    """Serve `/`, `/assets/*`, the favicon, and `/docs`; none of them needs another host."""
    assets = load_assets()
    docs = {
        "": _asset("docs.html", PAGE.encode()),
        "page.js": _asset("page.js", SCRIPT.encode()),
        "page.css": _asset("page.css", STYLE.encode()),
    }

    async def docs_page(request: Request, name: str = "") -> Response:
        asset = docs.get(name)
        if asset is None:
            raise ApiError(404, "NOT_FOUND", "There is no such page.")
        return _serve(request, asset)

    async def openapi() -> Response:
        return JSONResponse(app.openapi(), headers={"Cache-Control": "no-cache"})

    async def page(request: Request) -> Response:
        name = request.url.path.lstrip("/") or "index.html"
        asset = assets.get(name)
        if asset is None:
            raise ApiError(
                404, "NOT_FOUND", "The dashboard was not built into this installation; the API is at /docs."
            )
        return _serve(request, asset)

    app.add_api_route("/docs", docs_page, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/docs/{name}", docs_page, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/openapi.json", openapi, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/", page, methods=["GET", "HEAD"], include_in_schema=False)
    for name in assets:
        app.add_api_route(f"/{name}", page, methods=["GET", "HEAD"], include_in_schema=False)
