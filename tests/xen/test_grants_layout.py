"""Structures of grant_table.h and memory.h, member by member: offsets and sizes as a 64-bit C compiler lays them out."""

from __future__ import annotations

import struct

import pytest

from sw.xen import grant_table as grants
from sw.xen import memory
from sw.xen.grant_table import CacheFlush, GrantFlag, GrantMapFlag, GrantOp, GrantStatus
from sw.xen.memory import MapSpace, MemoryOp
from tests.xen.grants_support import Field, build

# (layout, size, members in the layout's order as (offset, code))
STRUCTURES = {
    "grant_entry_v1": (grants.GRANT_ENTRY_V1, 8, [(0, "H"), (2, "H"), (4, "I")]),
    "full_page": (grants.GRANT_ENTRY_V2, 16, [(0, "H"), (2, "H"), (8, "Q")]),
    "sub_page": (grants.GRANT_ENTRY_V2_SUB_PAGE, 16, [(0, "H"), (2, "H"), (4, "H"), (6, "H"), (8, "Q")]),
    "transitive": (grants.GRANT_ENTRY_V2_TRANSITIVE, 16, [(0, "H"), (2, "H"), (4, "H"), (8, "I")]),
    "map_grant_ref": (
        grants.MAP_GRANT_REF, 32, [(0, "Q"), (8, "I"), (12, "I"), (16, "H"), (18, "h"), (20, "I"), (24, "Q")],
    ),
    "unmap_grant_ref": (grants.UNMAP_GRANT_REF, 24, [(0, "Q"), (8, "Q"), (16, "I"), (20, "h")]),
    "setup_table": (grants.SETUP_TABLE, 24, [(0, "H"), (4, "I"), (8, "h"), (16, "Q")]),
    "transfer": (grants.TRANSFER, 24, [(0, "Q"), (8, "H"), (12, "I"), (16, "h")]),
    "copy": (
        grants.COPY, 40,
        [(0, "Q"), (8, "H"), (10, "H"), (16, "Q"), (24, "H"), (26, "H"), (32, "H"), (34, "H"), (36, "h")],
    ),
    "query_size": (grants.QUERY_SIZE, 16, [(0, "H"), (4, "I"), (8, "I"), (12, "h")]),
    "set_version": (grants.SET_VERSION, 4, [(0, "I")]),
    "get_status_frames": (grants.GET_STATUS_FRAMES, 16, [(0, "I"), (4, "H"), (6, "h"), (8, "Q")]),
    "get_version": (grants.GET_VERSION, 8, [(0, "H"), (4, "I")]),
    "swap_grant_ref": (grants.SWAP_GRANT_REF, 12, [(0, "I"), (4, "I"), (8, "h")]),
    "cache_flush": (grants.CACHE_FLUSH, 16, [(0, "Q"), (8, "H"), (10, "H"), (12, "I")]),
    "memory_reservation": (memory.RESERVATION, 32, [(0, "Q"), (8, "Q"), (16, "I"), (20, "I"), (24, "H")]),
    "memory_exchange": (
        memory.EXCHANGE, 72,
        [
            (0, "Q"), (8, "Q"), (16, "I"), (20, "I"), (24, "H"),
            (32, "Q"), (40, "Q"), (48, "I"), (52, "I"), (56, "H"), (64, "Q"),
        ],
    ),
    "add_to_physmap": (memory.ADD_TO_PHYSMAP, 24, [(0, "H"), (2, "H"), (4, "I"), (8, "Q"), (16, "Q")]),
    "add_to_physmap_batch": (
        memory.ADD_TO_PHYSMAP_BATCH, 32, [(0, "H"), (2, "H"), (4, "H"), (6, "H"), (8, "Q"), (16, "Q"), (24, "Q")],
    ),
    "remove_from_physmap": (memory.REMOVE_FROM_PHYSMAP, 16, [(0, "H"), (8, "Q")]),
    "acquire_resource": (
        memory.ACQUIRE_RESOURCE, 32, [(0, "H"), (2, "H"), (4, "I"), (8, "I"), (16, "Q"), (24, "Q")],
    ),
    "machphys_mapping": (memory.MACHPHYS_MAPPING, 24, [(0, "Q"), (8, "Q"), (16, "Q")]),
}  # fmt: skip


@pytest.mark.parametrize("name", STRUCTURES)
def test_members_stand_where_the_compiler_puts_them(name: str) -> None:
    layout, size, members = STRUCTURES[name]
    assert layout.size == size
    # every member has bytes of its own that occur nowhere else
    values = [0x0102030405060708 + 0x1010101010101010 * n for n in range(len(members))]
    fields: list[Field] = []
    for (offset, code), value in zip(members, values, strict=True):
        bits = 8 * struct.calcsize(code)
        kept = value & (1 << bits) - 1
        fields.append((offset, code, kept - (1 << bits) if code.islower() and kept >> bits - 1 else kept))
    assert layout.pack(*(value for _, _, value in fields)) == build(size, *fields)


def test_numbers() -> None:
    assert {op.name: op.value for op in GrantOp} == {
        "MAP_GRANT_REF": 0, "UNMAP_GRANT_REF": 1, "SETUP_TABLE": 2, "TRANSFER": 4, "COPY": 5, "QUERY_SIZE": 6,
        "UNMAP_AND_REPLACE": 7, "SET_VERSION": 8, "GET_STATUS_FRAMES": 9, "GET_VERSION": 10, "SWAP_GRANT_REF": 11,
        "CACHE_FLUSH": 12,
    }  # fmt: skip
    assert [int(status) for status in GrantStatus] == list(range(0, -14, -1))
    assert GrantStatus(-8) is GrantStatus.PERMISSION_DENIED and GrantStatus(-13) is GrantStatus.NO_SPACE
    assert (GrantFlag.PERMIT_ACCESS, GrantFlag.ACCEPT_TRANSFER, GrantFlag.TRANSITIVE) == (1, 2, 3)
    assert (GrantFlag.READONLY, GrantFlag.READING, GrantFlag.WRITING, GrantFlag.SUB_PAGE) == (1 << 2, 1 << 3, 1 << 4, 1 << 8)
    assert (GrantFlag.TRANSFER_COMMITTED, GrantFlag.TRANSFER_COMPLETED) == (1 << 2, 1 << 3)
    assert (GrantFlag.PWT, GrantFlag.PCD, GrantFlag.PAT) == (1 << 5, 1 << 6, 1 << 7)
    assert [int(flag) for flag in GrantMapFlag] == [1 << n for n in range(5)]
    assert (CacheFlush.CLEAN, CacheFlush.INVALIDATE, CacheFlush.SOURCE_GREF) == (1, 2, 1 << 31)
    assert {op.name: op.value for op in MemoryOp} == {
        "INCREASE_RESERVATION": 0, "DECREASE_RESERVATION": 1, "MAXIMUM_RAM_PAGE": 2, "CURRENT_RESERVATION": 3,
        "MAXIMUM_RESERVATION": 4, "MACHPHYS_MFN_LIST": 5, "POPULATE_PHYSMAP": 6, "ADD_TO_PHYSMAP": 7, "EXCHANGE": 11,
        "MACHPHYS_MAPPING": 12, "MAXIMUM_GPFN": 14, "REMOVE_FROM_PHYSMAP": 15, "ADD_TO_PHYSMAP_BATCH": 23,
        "CLAIM_PAGES": 24, "RESERVED_DEVICE_MEMORY_MAP": 27, "ACQUIRE_RESOURCE": 28,
    }  # fmt: skip
    assert [int(space) for space in MapSpace] == [0, 1, 2, 3, 4]


def test_tables_hold_what_the_header_says() -> None:
    assert grants.GRANT_ENTRIES_PER_PAGE * grants.GRANT_MAX_FRAMES == 32768
    assert grants.GRANT_ENTRIES_PER_PAGE_V2 * grants.GRANT_MAX_FRAMES == 16384
    assert grants.GRANT_STATUS_PER_PAGE == 2048 and grants.GRANT_MAX_STATUS_FRAMES == 8
