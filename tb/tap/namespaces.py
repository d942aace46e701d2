"""Network namespaces with a TAP device each: made, configured, removed; leftovers of dead runs removed, too."""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tb.tap.config import DEVICE, MTU

PREFIX: Final = "myrmidon"
TUN: Final = Path("/dev/net/tun")
NAMED: Final = Path("/run/netns")
TOOLS: Final = {
    "ip": "iproute2",
    "ping": "iputils-ping",
    "iperf3": "iperf3",
    "curl": "curl",
    "tshark": "tshark",
}
"""Programs of a run and the Debian packages that have them."""
COMMAND_LIMIT_S: Final = 30.0
QUEUE_FRAMES: Final = 10_000
"""Length of a TAP device's queue: more than all sockets of a namespace may have in flight."""
SETTINGS: Final = {
    # What sockets may have in flight lies in queues that real time empties slowly: bounded, it is a bounded delay.
    "net/ipv4/tcp_rmem": "4096 131072 262144",
    "net/ipv4/tcp_wmem": "4096 65536 131072",
    "net/ipv4/tcp_congestion_control": "reno",
    # A probe for a lost tail goes by the round trip so far: a busy machine would look like loss.
    "net/ipv4/tcp_early_retrans": "0",
    "net/ipv6/conf/all/accept_ra": "0",
    "net/ipv6/conf/default/accept_ra": "0",
}
"""Per namespace. Real time passes slowly here: the stacks must take delay for delay, not for loss."""
RTO_MIN: Final = "20s"
"""Shortest retransmission time-out of a route: longer than any pause of the simulation."""

CAP_NET_ADMIN: Final = 12
CAP_SYS_ADMIN: Final = 21
_CLONE_NEWNET: Final = 0x4000_0000
_TUNSETIFF: Final = 0x4004_54CA
_TUNSETOFFLOAD: Final = 0x4004_54D0
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
TUN_F_CSUM: Final = 0x01
TUN_F_TSO4: Final = 0x02
TUN_F_TSO6: Final = 0x04


class NamespaceError(RuntimeError):
    """Something that the run needs is missing or was refused: the message says what."""


def missing(tools: Sequence[str] = tuple(TOOLS)) -> list[str]:
    """What this machine lacks for a run, in words; empty when it has all."""
    found: list[str] = []
    capabilities = _capabilities()
    if not capabilities >> CAP_NET_ADMIN & 1:
        found.append("root: CAP_NET_ADMIN makes network devices")
    elif not capabilities >> CAP_SYS_ADMIN & 1:
        found.append("root: CAP_SYS_ADMIN makes network namespaces")
    if not TUN.exists():
        found.append(f"{TUN}: modprobe tun, or pass the device to this container")
    elif not os.access(TUN, os.R_OK | os.W_OK):
        found.append(f"permission to open {TUN}")
    packages = [TOOLS[tool] for tool in tools if shutil.which(tool) is None]
    if packages:
        found.append(f"programs: apt-get install {' '.join(packages)}")
    return found


def _capabilities() -> int:
    match = re.search(r"^CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(match[1], 16) if match else 0


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread's network is the namespace's inside the block."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(NAMED / namespace, os.O_RDONLY)
        try:
            if libc.setns(there, _CLONE_NEWNET):
                raise NamespaceError(f"cannot enter {namespace}: {os.strerror(ctypes.get_errno())}")
        finally:
            os.close(there)
        try:
            yield
        finally:
            if libc.setns(here, _CLONE_NEWNET):
                raise NamespaceError(f"cannot leave {namespace}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(here)


def ip(*arguments: str, namespace: str | None = None) -> str:
    """Run `ip`; its output. Raises `NamespaceError` with what it said."""
    command = ["ip", *(("-n", namespace) if namespace else ()), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NamespaceError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise NamespaceError(f"{' '.join(command)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout


def leftovers() -> list[str]:
    """Namespaces of runs whose process is gone."""
    if not NAMED.is_dir():
        return []
    names = [(entry.name, re.fullmatch(rf"{PREFIX}-(\d+)-\w+", entry.name)) for entry in NAMED.iterdir()]
    return sorted(name for name, match in names if match and not Path("/proc", match[1]).exists())


def open_tap(namespace: str, offloads: int) -> int:
    """A non-blocking file of a new TAP device `DEVICE` in the namespace; the device goes with the file.

    `offloads` (TUN_F_*) is what the stack may leave to the NIC.
    """
    with inside(namespace):
        fd = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        request = struct.pack("16sH22x", DEVICE.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(fd, _TUNSETIFF, request)
        fcntl.ioctl(fd, _TUNSETOFFLOAD, offloads)
    except OSError as error:
        os.close(fd)
        raise NamespaceError(f"{namespace}: cannot make TAP device {DEVICE}: {error.strerror}") from error
    return fd


class Namespace:
    """One host: a namespace with a TAP device, down until `configure`."""

    def __init__(self, host: str, offloads: int) -> None:
        self.host = host
        self.name = f"{PREFIX}-{os.getpid()}-{host}"
        ip("netns", "add", self.name)
        try:
            self.tap = open_tap(self.name, offloads)
        except BaseException:
            ip("netns", "del", self.name)
            raise

    def configure(self, mac: bytes, ipv4: str, ipv6: str) -> None:
        """Addresses, MTU, limits; then the links go up."""
        with inside(self.name):
            for setting, value in SETTINGS.items():
                Path("/proc/sys", setting).write_text(value)
        ip("link", "set", "lo", "up", namespace=self.name)
        ip(
            *("link", "set", DEVICE, "address", mac.hex(":"), "mtu", str(MTU), "txqueuelen", str(QUEUE_FRAMES), "up"),
            namespace=self.name,
        )
        # routes by hand: only a route can say how long TCP waits
        ip("address", "add", f"{ipv4}/24", "dev", DEVICE, "noprefixroute", namespace=self.name)
        ip("address", "add", f"{ipv6}/64", "dev", DEVICE, "noprefixroute", namespace=self.name)
        route = ("dev", DEVICE, "rto_min", RTO_MIN)
        ip("route", "add", ipv4.rsplit(".", 1)[0] + ".0/24", *route, "src", ipv4, namespace=self.name)
        ip("-6", "route", "add", ipv6.split("::")[0] + "::/64", *route, namespace=self.name)

    def open_groups(self) -> int:
        """A file that lists the link-layer groups of the namespace's devices, as they are when it is read."""
        with inside(self.name):
            return os.open("/proc/thread-self/net/dev_mcast", os.O_RDONLY | os.O_CLOEXEC)

    def counters(self) -> dict[str, int]:
        """What the stack counted: retransmissions, bad checksums, drops of the device."""
        with inside(self.name):
            net = Path("/proc/thread-self/net")
            tcp = _table((net / "snmp").read_text())
            more = _table((net / "netstat").read_text())
            six = dict(line.split() for line in (net / "snmp6").read_text().splitlines())
            device = next(
                line.split(":")[1].split()
                for line in (net / "dev").read_text().splitlines()
                if line.strip().startswith(f"{DEVICE}:")
            )
        return {
            "retransmissions": tcp["Tcp"]["RetransSegs"],
            "bad_checksums": tcp["Tcp"]["InCsumErrors"]
            + tcp["Udp"]["InCsumErrors"]
            + tcp["Icmp"]["InCsumErrors"]
            + int(six["Icmp6InCsumErrors"])
            + more["IpExt"]["InCsumErrors"],
            "resets": tcp["Tcp"]["OutRsts"],
            "dropped": int(device[3]) + int(device[11]),
            "errors": int(device[2]) + int(device[10]),
        }

    def run(self, *command: str) -> list[str]:
        """The command line that runs `command` in here."""
        return ["ip", "netns", "exec", self.name, *command]

    def remove(self) -> None:
        """Close the device and take the name away."""
        os.close(self.tap)
        ip("netns", "del", self.name)


def _table(text: str) -> dict[str, dict[str, int]]:
    """/proc/net/snmp and its like: a line of names, a line of values."""
    lines = [line.split() for line in text.splitlines()]
    return {
        names[0].rstrip(":"): dict(zip(names[1:], map(int, values[1:]), strict=True))
        for names, values in zip(lines[::2], lines[1::2], strict=True)
    }


@contextmanager
def namespaces(offloads: dict[str, int]) -> Iterator[dict[str, Namespace]]:
    """Namespaces by host name with the offloads of each; removed at the end, whatever happens."""
    for name in leftovers():
        ip("netns", "del", name)
    made: dict[str, Namespace] = {}
    try:
        for host, flags in offloads.items():
            made[host] = Namespace(host, flags)
        yield made
    finally:
        for space in made.values():
            space.remove()
