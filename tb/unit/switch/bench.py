"""The bench around `myr_switch_bench`: registers, look-ups. All inputs change at the falling edge of the clock."""

from __future__ import annotations

import random
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from sw.abi.registers import NicControl, Switch
from tb.cosim import bound
from tb.unit.switch.oracle import PORTS, Frame, Group, Port, Rules, Verdict, bitmap

PERIOD_NS = 4
HEADER_BYTES = 18
GROUPS = NicControl.GROUP_COUNT
INPUTS = ("port_req_i", "group_req_i", "wire_valid_i", "direct_i", "send_valid_i", "alloc_i", "piece_i", "done_i",
          "close_i", "close_silent_i", "hold_i", "word_i", "inline_valid_i", "edit_valid_i", "tx_done_i", "job_ready_i",
          "job_done_i", "end_full_i", "policy_i", "number_i", "cycle_i")


def ports_of(value: int) -> set[int]:
    """The ports of a bitmap."""
    return {n for n in range(PORTS) if value >> n & 1}


def words(mac: str) -> tuple[int, int]:
    """MAC_HI and MAC_LO of an address."""
    value = int(mac.replace(":", ""), 16)
    return value >> 16, value & 0xFFFF


class Bench:
    """Clock, reset, the two tables and the two look-ups."""

    def __init__(self, dut: Any, seed: int) -> None:
        bound.start()
        self.dut = dut
        self.random = random.Random(seed)
        self.rules = Rules()
        self.policy = Switch.VEB

    async def start(self) -> None:
        """Reset."""
        dut = self.dut
        for name in INPUTS:
            getattr(dut, name).value = 0
        dut.rst_i.value = 1
        Clock(dut.clk_i, PERIOD_NS, unit="ns").start(start_high=False)
        for _ in range(4):
            await FallingEdge(dut.clk_i)
        dut.rst_i.value = 0
        await FallingEdge(dut.clk_i)

    # ------------------------------------------------------------------ tables
    async def access(self, table: str, address: int, value: int | None = None) -> int:
        """Write `value`, or read, a register of the table `port` or `group`; the answer comes in the next cycle."""
        dut = self.dut
        getattr(dut, f"{table}_req_i").value = 1
        getattr(dut, f"{table}_write_i").value = int(value is not None)
        getattr(dut, f"{table}_addr_i").value = address
        getattr(dut, f"{table}_data_i").value = value or 0
        await FallingEdge(dut.clk_i)
        getattr(dut, f"{table}_req_i").value = 0
        assert int(getattr(dut, f"{table}_ack_o").value) == 1, f"{table} access to 0x{address:x} is answered at once"
        return int(getattr(dut, f"{table}_data_o").value)

    async def set_port(self, number: int, port: Port) -> None:
        """Write a row of PORT_TABLE, as the hypervisor does: the policy last."""
        self.rules.ports[number] = port
        high, low = words(port.mac)
        flags = (port.enable, port.check_mac, port.check_vlan, port.promiscuous, port.all_multicast, port.broadcast)
        policy = port.vlan | bitmap([n for n, flag in enumerate(flags) if flag]) << NicControl.PORT_POLICY_ENABLE_S
        base = number * NicControl.PORT_STRIDE - NicControl.PORT_BASE
        await self.access("port", base + NicControl.PORT_MAC_HI, high)
        await self.access("port", base + NicControl.PORT_MAC_LO, low)
        await self.access("port", base + NicControl.PORT_POLICY, policy)
        assert await self.access("port", base + NicControl.PORT_MAC_HI) == high
        assert await self.access("port", base + NicControl.PORT_MAC_LO) == low
        assert await self.access("port", base + NicControl.PORT_POLICY) == policy

    async def spoofed(self, number: int) -> int:
        """Forged frames of a port so far."""
        return await self.access("port", number * NicControl.PORT_STRIDE - NicControl.PORT_BASE + NicControl.PORT_SPOOFED)

    async def set_groups(self, groups: list[Group]) -> None:
        """Write GROUP_TABLE; rows that are not given are cleared."""
        self.rules.groups = groups
        for row in range(GROUPS):
            group = groups[row] if row < len(groups) else Group("00:00:00:00:00:00", set(), False)
            high, low = words(group.mac)
            members = bitmap(group.members)
            values = {NicControl.GROUP_MAC_HI: high,
                      NicControl.GROUP_MAC_LO: low | int(group.valid) << NicControl.GROUP_MAC_LO_VALID_S,
                      NicControl.GROUP_MEMBERS_LO: members & 0xFFFFFFFF, NicControl.GROUP_MEMBERS_HI: members >> 32}
            base = row * NicControl.GROUP_STRIDE - NicControl.GROUP_BASE
            for address, value in values.items():
                await self.access("group", base + address, value)
            for address, value in values.items():
                assert await self.access("group", base + address) == value

    def set_policy(self, policy: Switch) -> None:
        """SWITCH_CTRL.policy."""
        self.policy = policy
        self.dut.policy_i.value = int(policy)

    # ------------------------------------------------------------------ look-ups
    async def look(self, wire: Frame | None = None, sent: tuple[int, Frame] | None = None) -> None:
        """Look up a frame of each side in the same cycle; the answers, in the next, are those of the rules."""
        dut = self.dut
        dut.direct_i.value = 1
        dut.wire_valid_i.value = int(wire is not None)
        dut.send_valid_i.value = int(sent is not None)
        if wire is not None:
            dut.wire_bytes_i.value = int.from_bytes(wire.encode()[:HEADER_BYTES], "little")
        if sent is not None:
            dut.send_ep_i.value = sent[0]
            dut.send_bytes_i.value = int.from_bytes(sent[1].encode()[:HEADER_BYTES], "little")
        await FallingEdge(dut.clk_i)
        dut.wire_valid_i.value = 0
        dut.send_valid_i.value = 0
        if wire is not None:
            seen = ports_of(int(dut.wire_dest_o.value))
            assert seen == self.rules.from_wire(wire), f"{wire} goes to {seen}, not {self.rules.from_wire(wire)}"
            assert bool(dut.wire_group_o.value) == wire.group, wire
        if sent is not None:
            verdict = Verdict(frozenset(ports_of(int(dut.send_dest_o.value))), bool(dut.send_to_wire_o.value),
                              bool(dut.send_spoofed_o.value))
            expected = self.rules.sent(*sent, self.policy)
            assert verdict == expected, f"{self.policy.name} {sent}: {verdict}, not {expected}"
