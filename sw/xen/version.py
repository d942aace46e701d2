"""Version and features of the hypervisor. Source: Xen `xen/include/public/version.h`, `features.h` (values restated)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final


class VersionOp(IntEnum):
    """Sub-operations of xen_version."""

    VERSION = 0
    EXTRAVERSION = 1
    COMPILE_INFO = 2
    CAPABILITIES = 3
    CHANGESET = 4
    PLATFORM_PARAMETERS = 5
    GET_FEATURES = 6
    PAGESIZE = 7
    GUEST_HANDLE = 8
    COMMANDLINE = 9
    BUILD_ID = 10


class Feature(IntEnum):
    """Bits of submap 0."""

    AUTO_TRANSLATED_PHYSMAP = 2
    HVM_CALLBACK_VECTOR = 8
    HVM_PIRQS = 10
    DOM0 = 11


EXTRAVERSION: Final = struct.Struct("<16s")
CAPABILITIES: Final = struct.Struct("<1024s")
FEATURE_INFO: Final = struct.Struct("<II")
"""xen_feature_info: submap_idx (in), submap (out)."""
