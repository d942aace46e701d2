"""Names of nodes: absolute, relative to a domain's home, or special.

Source: Xen `docs/misc/xenstore.txt`, `canonicalize` of C xenstored.
"""

from __future__ import annotations

import re
from typing import Final

from hypervisor_model.xenstore.errors import StoreError
from sw.xen.io.xs_wire import ABS_PATH_MAX, REL_PATH_MAX, Error

INTRODUCE_DOMAIN: Final = "@introduceDomain"
RELEASE_DOMAIN: Final = "@releaseDomain"
_CHARACTERS: Final = re.compile(r"[A-Za-z0-9/_@-]+")
_HOME: Final = re.compile(r"/local/domain/[0-9]{1,5}/")


def domain_path(domid: int) -> str:
    """Home of a domain; its relative paths begin here."""
    return f"/local/domain/{domid}"


def is_relative(path: str) -> bool:
    """Neither absolute nor special."""
    return not path.startswith(("/", "@"))


def canonical(path: str, domid: int, *, special: bool = False) -> str:
    """Absolute path of what domain `domid` calls `path`. Raises `StoreError` (EINVAL).

    `special` allows names that begin with @.
    """
    if not _CHARACTERS.fullmatch(path) or (path.startswith("@") and not special):
        raise StoreError(Error.EINVAL, f"path {path[:64]!r} has characters that it may not have, or none")
    name = f"{domain_path(domid)}/{path}" if is_relative(path) else path
    if (name.endswith("/") and name != "/") or "//" in name:
        raise StoreError(Error.EINVAL, f"path {name[:64]!r} has an empty part")
    if len(name) > ABS_PATH_MAX:
        raise StoreError(Error.EINVAL, f"path of {len(name)} bytes: at most {ABS_PATH_MAX}")
    home = _HOME.match(name)
    if home and len(name) - home.end() > REL_PATH_MAX:
        raise StoreError(Error.EINVAL, f"path of {len(name) - home.end()} bytes below a home: at most {REL_PATH_MAX}")
    return name


def parent(path: str) -> str:
    """Of any path but the root; special nodes hang below the root."""
    return path[: max(path.rfind("/"), 0)] or "/"


def leaf(path: str) -> str:
    """Last part."""
    return path[path.rfind("/") + 1 :]


def join(path: str, child: str) -> str:
    """Path of a child."""
    return f"/{child}" if path == "/" else f"{path}/{child}"


def is_child(path: str, ancestor: str) -> bool:
    """`path` is `ancestor` itself or below it."""
    return ancestor in ("/", path) or path.startswith(ancestor + "/")
