"""xen_version: which hypervisor this is and what it offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hypervisor_model.hypercalls.call import Call, Operation
from sw.platform import PAGE_SIZE
from sw.xen.errno import Errno, HypercallError
from sw.xen.version import CAPABILITIES, EXTRAVERSION, FEATURE_INFO, Feature, VersionOp
from sw.xen.xen import DOMID_CONTROL

VERSION: Final = (4, 22)
"""Whose interface is modelled."""
EXTRA: Final = b"-myrmidon"
GUESTS: Final = b"hvm-3.0-x86_64"


def version(call: Call) -> int:
    """Major version from bit 16 on, minor below."""
    return VERSION[0] << 16 | VERSION[1]


def extraversion(call: Call) -> int:
    """What stands behind the version."""
    call.pack(EXTRAVERSION, call.argument(1), EXTRA)
    return 0


def capabilities(call: Call) -> int:
    """Kinds of guests: translated ones."""
    call.pack(CAPABILITIES, call.argument(1), GUESTS)
    return 0


def get_features(call: Call) -> int:
    """Feature bits of one submap."""
    at = call.argument(1)
    index, _ = call.unpack(FEATURE_INFO, at)
    if index:
        raise HypercallError(Errno.EINVAL, f"feature submap {index}: only 0")
    features = 1 << Feature.AUTO_TRANSLATED_PHYSMAP | 1 << Feature.HVM_CALLBACK_VECTOR | 1 << Feature.HVM_PIRQS
    if call.domain.domid == DOMID_CONTROL:
        features |= 1 << Feature.DOM0
    call.pack(FEATURE_INFO, at, index, features)
    return 0


def pagesize(call: Call) -> int:
    """Bytes of a page."""
    return PAGE_SIZE


OPERATIONS: Final[Mapping[int, Operation]] = {
    VersionOp.VERSION: Operation(version),
    VersionOp.EXTRAVERSION: Operation(extraversion),
    VersionOp.CAPABILITIES: Operation(capabilities),
    VersionOp.GET_FEATURES: Operation(get_features),
    VersionOp.PAGESIZE: Operation(pagesize),
}
