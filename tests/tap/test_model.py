"""The simulation's side of `make tap` on the reference NIC: what one stack hands over is what the other gets, finished.

Socket pairs stand for TAP devices, so no privilege is needed. What is expected is built by scapy.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.utils import PcapNgReader

from tb.model.platform import ModelPlatform
from tb.tap import control, vnet
from tb.tap.config import DEVICE, WIRE_MAC, TapConfig
from tb.tap.control import ControlError
from tb.tap.job import TapJob, serve
from tb.tap.model_job import LIMIT_NS, frames_left

ALL_NODES = bytes.fromhex("333300000001")
OTHER_GROUP = bytes.fromhex("3333ff123456")
BROADCAST = b"\xff" * 6
WAIT_S = 20.0
SILENCE_S = 0.5


class Session:
    """A simulation in a thread; `say` and `hear` are the stacks, `ask` is the run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        config = TapConfig(guests=2, folder=folder)
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in config.hosts]
        self.stacks = dict(zip(config.hosts, (there for _, there in pairs), strict=True))
        self._ends = [here for here, _ in pairs]
        for end in self._ends:
            end.setblocking(False)
        for stack in self.stacks.values():
            stack.settimeout(WAIT_S)
        joined = folder / "dev_mcast"
        joined.write_text(f"2    {DEVICE}            1     0     {ALL_NODES.hex()}\n")
        self._groups = [os.open(joined, os.O_RDONLY) for _ in range(config.guests)]
        self.control, other = control.pair()
        taps = dict(zip(config.hosts, (end.fileno() for end in self._ends), strict=True))
        job = TapJob(config, other.detach(), taps, self._groups)
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(job,))
        self._thread.start()
        ready = self.receive("ready")
        self.macs = [bytes.fromhex(guest["mac"]) for guest in ready["guests"]]
        # the groups are told at the next look at them
        time.sleep(SILENCE_S)

    def _run(self, job: TapJob) -> None:
        platform = ModelPlatform()
        try:
            work = serve(platform, lambda: frames_left(platform), platform.gather, self.folder, job)
            platform.run(work, limit_ns=LIMIT_NS)
        except BaseException as error:  # noqa: BLE001  the test's thread reports it
            self.failure = error

    def receive(self, kind: str) -> dict[str, Any]:
        messages = control.receive(self.control, WAIT_S)
        assert [message["kind"] for message in messages] == [kind]
        return messages[0]

    def ask(self, kind: str) -> dict[str, Any]:
        control.send(self.control, {"kind": kind})
        return self.receive(kind)

    def say(self, host: str, frame: bytes, header: bytes = vnet.PLAIN) -> None:
        self.stacks[host].send(header + frame)

    def hear(self, host: str) -> bytes:
        return self.stacks[host].recv(vnet.PACKET_MAX)

    def silent(self, host: str) -> bool:
        self.stacks[host].settimeout(SILENCE_S)
        try:
            self.stacks[host].recv(vnet.PACKET_MAX)
        except TimeoutError:
            return True
        finally:
            self.stacks[host].settimeout(WAIT_S)
        return False

    def close(self) -> None:
        self.control.close()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the simulation outlives its run"
        for fd in self._groups:
            os.close(fd)
        for end in (*self._ends, *self.stacks.values()):
            end.close()
        if self.failure is not None:
            raise self.failure


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    made = Session(tmp_path_factory.mktemp("tap"))
    yield made
    made.close()


@pytest.fixture
def own_session(tmp_path: Path) -> Iterator[Session]:
    """For a test that ends it."""
    made = Session(tmp_path)
    yield made
    made.close()


def colon(mac: bytes) -> str:
    return mac.hex(":")


def network(version: int, **fields: Any) -> Packet:
    if version == 6:
        return IPv6(src="fd77::1", dst="fd77::2")
    return IP(src="10.77.0.1", dst="10.77.0.2", **fields)


def partial(frame: bytes, start: int, field: int) -> bytes:
    """A finished frame as a stack leaves it for the NIC: the field holds the sum of the pseudo header alone."""
    six = frame[12:14] == b"\x86\xdd"
    addresses, protocol = (frame[22:54], frame[20]) if six else (frame[26:34], frame[23])
    pseudo = addresses + (len(frame) - start).to_bytes(4, "big") + bytes([0, 0, 0, protocol])
    total = sum(int.from_bytes(pseudo[n : n + 2], "big") for n in range(0, len(pseudo), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return frame[:field] + total.to_bytes(2, "big") + frame[field + 2 :]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("transport", "offset"), [(UDP(sport=1, dport=2), 6), (TCP(sport=1, dport=2), 16)])
@pytest.mark.parametrize("length", [1, 1000, 8900])
def test_checksum_between_guests(session: Session, version: int, transport: Packet, offset: int, length: int) -> None:
    ether = Ether(src=colon(session.macs[0]), dst=colon(session.macs[1]))
    finished = bytes(ether / network(version) / transport / (bytes(range(256)) * 40)[:length])
    start = 14 + (40 if version == 6 else 20)
    header = vnet.HEADER.pack(vnet.NEEDS_CSUM, vnet.GSO_NONE, 0, 0, start, offset)
    session.say("guest0", partial(finished, start, start + offset), header)
    heard = session.hear("guest1")
    # a short frame is padded on its way
    assert heard[: len(vnet.CHECKED) + len(finished)] == vnet.CHECKED + finished
    assert set(heard[len(vnet.CHECKED) + len(finished) :]) <= {0}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("target", ["guest1", "wire"])
def test_segments(session: Session, version: int, target: str) -> None:
    mss, payload = 1448, bytes(n * 7 & 0xFF for n in range(20_001))
    to = session.macs[1] if target == "guest1" else WIRE_MAC
    ether = Ether(src=colon(session.macs[0]), dst=colon(to))

    def packet(seq: int, flags: str, data: bytes, ident: int) -> bytes:
        tcp = TCP(sport=1000, dport=2000, seq=seq, ack=77, flags=flags, options=[("Timestamp", (1, 2)), ("EOL", None)])
        return bytes(ether / network(version, id=ident) / tcp / data)

    start = 14 + (40 if version == 6 else 20)
    whole = packet(5, "PA", payload, 9)
    kind = vnet.GSO_TCPV6 if version == 6 else vnet.GSO_TCPV4
    session.say(
        "guest0",
        partial(whole, start, start + 16),
        vnet.HEADER.pack(vnet.NEEDS_CSUM, kind, 0, mss, start, 16),
    )
    starts = range(0, len(payload), mss)
    for number, at in enumerate(starts):
        flags = "PA" if at == starts[-1] else "A"
        expected = packet(5 + at, flags, payload[at : at + mss], 9 + number)
        assert session.hear(target) == (vnet.CHECKED if target == "guest1" else vnet.PLAIN) + expected


def test_bad_checksum_is_left_to_the_stack(session: Session) -> None:
    """The NIC's sum tells: such a frame must not be marked as checked."""
    ether = Ether(src=colon(WIRE_MAC), dst=colon(session.macs[0]))
    good = bytes(ether / network(4) / TCP() / (b"x" * 100))
    bad = good[:-1] + b"y"
    session.say("wire", bad)
    session.say("wire", good)
    assert session.hear("guest0") == vnet.PLAIN + bad
    assert session.hear("guest0") == vnet.CHECKED + good


def test_broadcast_and_groups(session: Session) -> None:
    def frame(source: bytes, target: bytes) -> bytes:
        return target + source + b"\x88\xb5" + bytes(100)

    broadcast = frame(session.macs[0], BROADCAST)
    session.say("guest0", broadcast)
    assert session.hear("guest1") == session.hear("wire") == vnet.PLAIN + broadcast
    session.say("wire", frame(WIRE_MAC, OTHER_GROUP))
    joined = frame(WIRE_MAC, ALL_NODES)
    session.say("wire", joined)
    for host in ("guest0", "guest1"):
        assert session.hear(host) == vnet.PLAIN + joined
        assert session.silent(host)


def test_figures_and_captures(own_session: Session) -> None:
    frames = [own_session.macs[1] + own_session.macs[0] + b"\x88\xb5" + bytes([n]) * 1000 for n in range(50)]
    own_session.ask("mark")
    for frame in frames:
        own_session.say("guest0", frame)
    assert [own_session.hear("guest1") for _ in frames] == [vnet.PLAIN + frame for frame in frames]
    outward = frames[0].replace(own_session.macs[1], WIRE_MAC, 1)
    own_session.say("guest0", outward)
    assert own_session.hear("wire") == vnet.PLAIN + outward
    local, wired = own_session.ask("mark")["flows"]
    assert (local["from"], local["to"], local["frames"], local["bytes"]) == ("guest0", "guest1", 50, 50 * 1014)
    assert (wired["from"], wired["to"], wired["frames"], wired["lost"]) == ("guest0", "wire", 1, 0)
    assert 0 < local["min_ns"] <= local["median_ns"] <= local["p99_ns"]
    told = own_session.ask("end")
    assert told["software_costs"] == "none, software takes no time"
    assert told["captures"] == {"wire.pcapng": 1, "guest0.pcapng": 51, "guest1.pcapng": 50}
    assert not any(told["totals"]["must_be_zero"].values())
    [captured] = PcapNgReader(str(own_session.folder / "wire.pcapng"))
    assert bytes(captured) == outward + zlib.crc32(outward).to_bytes(4, "little")
    assert [bytes(packet) for packet in PcapNgReader(str(own_session.folder / "guest1.pcapng"))] == frames


def test_ends_when_the_run_is_gone(own_session: Session) -> None:
    """`close` asserts that the simulation ends; nobody is left to be told."""
    own_session.control.close()
    with pytest.raises((ControlError, OSError)):
        own_session.ask("mark")
