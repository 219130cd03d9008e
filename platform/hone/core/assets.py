"""The style sheets of a page as one file, and its scripts as another, without a build step.

`{% together %}` takes the links to files that stand in it and puts one in their place; the address
names the files, and `AssetsMiddleware` answers it with them, one after the other. The address is
signed, so that nobody has files read and packed in an order that no page asks for; every web
process can tell, also after a new start, and nothing has to be remembered.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import urlencode

from django import template
from django.contrib.staticfiles import finders
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotFound
from django.template.context import Context
from django.templatetags.static import static
from django.utils.cache import patch_vary_headers
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.html import format_html

PREFIX = "/assets/"
TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
LINKS = {
    "css": re.compile(r'<link rel="stylesheet" href="([^"]+)">\s*'),
    "js": re.compile(r'<script src="([^"]+)" defer></script>\s*'),
}
TAGS = {
    "css": '<link rel="stylesheet" href="{}">',
    "js": '<script src="{}" defer></script>',
}
FOR_EVER = "public, max-age=31536000, immutable"

register = template.Library()


@dataclass(frozen=True)
class Joined:
    """Files, one after the other; `digest` changes with any of them."""

    plain: bytes
    packed: bytes
    digest: str


@lru_cache(maxsize=128)
def joined(kind: str, names: tuple[str, ...]) -> Joined:
    """The static files of these names; Http404 where one is no such file."""
    # A script may end without a line break or in a comment.
    plain = b"\n".join(_found(name, kind) for name in names) + b"\n"
    digest = hashlib.sha256(plain).hexdigest()[:16]
    return Joined(plain, gzip.compress(plain, mtime=0), digest)


def _found(name: str, kind: str) -> bytes:
    path = finders.find(name) if name.endswith(f".{kind}") else None
    if not isinstance(path, str):
        raise Http404
    return Path(path).read_bytes()


def address(kind: str, names: tuple[str, ...]) -> str:
    """Where the files are found together, as they are now."""
    digest, files = joined(kind, names).digest, ",".join(names)
    query = urlencode({"files": files}, safe=",/")
    return f"{PREFIX}{digest}-{_signature(kind, digest, files)}.{kind}?{query}"


def _signature(kind: str, digest: str, files: str) -> str:
    said = salted_hmac("hone.core.assets", f"{kind}:{digest}:{files}", algorithm="sha256")
    return said.hexdigest()[:20]


class AssetsMiddleware:
    """Answers what `{% together %}` links to, to anybody, as static files are.

    Of a page from before an update the digest is an older one: it gets the files as they are now.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        name, _, kind = request.path_info.removeprefix(PREFIX).partition(".")
        digest, _, signature = name.partition("-")
        files = request.GET.get("files", "")
        if not constant_time_compare(signature, _signature(kind, digest, files)):
            return HttpResponseNotFound("No page asks for this.", content_type="text/plain")
        made = joined(kind, tuple(files.split(",")))
        packs = "gzip" in request.headers.get("Accept-Encoding", "")
        answer = HttpResponse(made.packed if packs else made.plain, content_type=TYPES[kind])
        if packs:
            answer["Content-Encoding"] = "gzip"
        answer["Cache-Control"] = FOR_EVER if made.digest == digest else "no-cache"
        patch_vary_headers(answer, ["Accept-Encoding"])
        return answer


@register.tag
def together(parser: template.base.Parser, token: template.base.Token) -> Together:
    """`{% together css %}…{% endtogether %}`: one link for all those to files of ours."""
    kind = token.split_contents()[1]
    nodes = parser.parse(("endtogether",))
    parser.delete_first_token()
    return Together(kind, nodes)


class Together(template.Node):
    """What stands between the tags, with one link in the place of the links to files."""

    def __init__(self, kind: str, nodelist: template.NodeList) -> None:
        self.kind = kind
        self.nodelist = nodelist

    def render(self, context: Context) -> str:
        found: list[str] = []
        rest = LINKS[self.kind].sub(partial(_taken, found), self.nodelist.render(context))
        if not found:
            return rest
        return format_html(TAGS[self.kind], address(self.kind, tuple(dict.fromkeys(found)))) + rest


def _taken(found: list[str], link: re.Match[str]) -> str:
    root = static("")
    if not link[1].startswith(root):
        return link[0]
    found.append(link[1].removeprefix(root))
    return ""
