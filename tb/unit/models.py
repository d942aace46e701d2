"""What each block bench is compiled from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tb.cosim.toolchain import ROOT, Recipe, Variant, block, rtl_sources

_PACKAGES: Final = ("myr_pkg", "myr_abi_pkg", "myr_nic_pkg")


@dataclass(frozen=True)
class Block:
    """RTL modules by name, the bench's own wrapper where there is one, and the top module."""

    modules: tuple[str, ...]
    top: str
    wrapper: str | None = None


def _all(*folders: str, without: str) -> tuple[str, ...]:
    return tuple(path.stem for path in rtl_sources(*folders) if without not in path.stem)


BLOCKS: Final = {
    "interrupt": Block(
        (*_PACKAGES, "myr_fifo", "myr_rr_arb", "myr_interrupt", "myr_msix"),
        "interrupt_bench",
        "tb/unit/interrupt/interrupt_bench.sv",
    ),
    "iommu": Block(_all("common", "iommu", "regs", without="nic"), "myr_iommu"),
    "mac": Block(
        (*_PACKAGES, "myr_crc32_pkg", "myr_mac_rx", "myr_rx_buffer", "myr_mac_tx"),
        "myr_mac_bench",
        "tb/unit/mac/myr_mac_bench.sv",
    ),
    "receive": Block(
        (
            *_PACKAGES,
            "myr_fifo",
            "myr_rr_arb",
            "myr_authorise",
            "myr_rx_ring",
            "myr_rx_place",
            "myr_dma_write",
            "myr_rx_sum",
            "myr_toeplitz",
            "myr_rss_table",
            "myr_rx_completion",
            "myr_mwr_arb",
            "myr_tlp_tx",
        ),
        "receive_bench",
        "tb/unit/receive/receive_bench.sv",
    ),
    "switch": Block(
        _all("common", "nic", "regs", without="iommu"), "myr_switch_bench", "tb/unit/switch/myr_switch_bench.sv"
    ),
    "windows": Block(
        (
            "myr_abi_pkg",
            "myr_nic_pkg",
            "myr_rr_arb",
            "myr_window_table",
            "myr_authorise",
            "myr_fence",
            "myr_refusal_log",
        ),
        "windows_bench",
        "tb/unit/windows/windows_bench.sv",
    ),
}
"""By the folder of the bench in `tb/unit`."""


def recipe(name: str, variant: Variant = Variant.PLAIN) -> Recipe:
    """What the simulator of the bench `tb/unit/<name>` is made of."""
    made_of = BLOCKS[name]
    sources = [path for path in rtl_sources() if path.stem in made_of.modules]
    if made_of.wrapper is not None:
        sources.append(ROOT / made_of.wrapper)
    return block(name, sources, made_of.top, variant=variant)
