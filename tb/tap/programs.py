"""The unmodified programs of a run: how they are called in a namespace, what they say, when that is right."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tb.tap.config import DEVICE
from tb.tap.namespaces import Namespace, inside, ip

PINGS: Final = 3
PING_GAP_S: Final = 0.2
LIMIT_S: Final = 300.0
"""Bound of one program, real time, without its bytes."""
SLOWEST: Final = 50_000
"""Bytes of a stream per second of real time below which something hangs."""
SERVER_LIMIT_S: Final = 20.0
"""Bound of a server's start."""
IPERF_PORT: Final = 5201
HTTP_PORT: Final = 8000
CLOSE_LIMIT_S: Final = 120.0
"""Bound of the end of connections that a program has left."""
POLL_S: Final = 0.02
_LISTEN: Final = "0A"
_TIME_WAIT: Final = "06"
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)


class ProgramError(RuntimeError):
    """A program failed or said what it should not: the message quotes it."""


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(namespace: Namespace, *command: str, folder: Path | None = None) -> subprocess.Popen[str]:
    """A program in the namespace; it ends when this process does, however that ends."""
    return subprocess.Popen(
        namespace.run(*command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509  one thread forks, and the call touches no lock
    )


def call(namespace: Namespace, *command: str, count: int = 0) -> str:
    """Run a program that moves `count` bytes to its end; what it printed. Raises `ProgramError`."""
    limit_s = LIMIT_S + count / SLOWEST
    process = start(namespace, *command)
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"{' '.join(command)}: not done in {limit_s:.0f} s") from error
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise ProgramError(
            f"{' '.join(command)}: exit status {process.returncode}: {(err.strip() or out.strip())[-400:]}"
        )
    return out


@contextmanager
def server(namespace: Namespace, port: int, *command: str, folder: Path | None = None) -> Iterator[None]:
    """A server in the namespace, ready when somebody listens on `port`; killed at the end, with no connection open."""
    process = start(namespace, *command, folder=folder)
    try:
        deadline = time.monotonic() + SERVER_LIMIT_S
        while not _listens(namespace, port):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise ProgramError(f"{' '.join(command)}: does not listen: {process.communicate()[1].strip()[-400:]}")
            time.sleep(POLL_S)
        yield
        wait_until_closed([namespace], CLOSE_LIMIT_S)
    finally:
        process.kill()
        process.communicate()


def wait_until_closed(namespaces: Sequence[Namespace], limit_s: float) -> None:
    """Until no connection is open or half open: what a program left under way has arrived. Raises `ProgramError`."""
    deadline = time.monotonic() + limit_s
    while open_ := [
        f"{namespace.host} {local} > {remote}"
        for namespace in namespaces
        for local, remote, state in _connections(namespace)
        if state not in (_LISTEN, _TIME_WAIT)
    ]:
        if time.monotonic() > deadline:
            raise ProgramError(f"connections still open after {limit_s:.0f} s: {', '.join(open_)}")
        time.sleep(POLL_S)


def _listens(namespace: Namespace, port: int) -> bool:
    return any(local.endswith(f":{port:04X}") and state == _LISTEN for local, _, state in _connections(namespace))


def _connections(namespace: Namespace) -> list[tuple[str, str, str]]:
    """Local and remote address and state of each TCP socket, as `/proc/net/tcp` writes them."""
    with inside(namespace.name):
        lines = [
            line.split()
            for name in ("tcp", "tcp6")
            for line in Path("/proc/thread-self/net", name).read_text().splitlines()[1:]
        ]
    return [(line[1], line[2], line[3]) for line in lines]


def ping(source: Namespace, address: str, *, size: int = 56, fragment: bool = True) -> dict[str, Any]:
    """Round trips in ms. `fragment` False: the packet must fit the MTU whole. Raises `ProgramError` on any loss."""
    options = () if fragment else ("-M", "do")
    out = call(source, "ping", "-c", str(PINGS), "-i", str(PING_GAP_S), "-W", "30", "-s", str(size), *options, address)
    count = re.search(r"(\d+) packets transmitted, (\d+) received(?:, \+(\d+) (duplicates|errors))?", out)
    times = re.search(r"= ([\d.]+)/([\d.]+)/([\d.]+)/", out)
    if count is None or times is None or count[1] != count[2] or count[3]:
        raise ProgramError(f"ping {address}: {out.strip()[-400:]}")
    return {"rtt_min_ms": float(times[1]), "rtt_ms": float(times[2]), "rtt_max_ms": float(times[3])}


def discover(source: Namespace, target: Namespace, address: str, mac: bytes) -> dict[str, Any]:
    """`ping` of a neighbour that neither side knows. Raises `ProgramError` unless `mac` is what was discovered."""
    for namespace in (source, target):
        ip("neighbour", "flush", "all", namespace=namespace.name)
    seen = ping(source, address)
    rows = json.loads(ip("-json", "neighbour", "show", address, "dev", DEVICE, namespace=source.name))
    if len(rows) != 1 or rows[0].get("lladdr") != mac.hex(":"):
        raise ProgramError(f"neighbour {address} of {source.host}: {rows}, expected {mac.hex(':')}")
    return seen | {"neighbour": rows[0]["lladdr"]}


def iperf(source: Namespace, target: Namespace, address: str, count: int) -> dict[str, Any]:
    """TCP stream of `count` bytes. Throughput in real time. Raises `ProgramError`.

    iperf3's server stops counting, and closes, when the client has written its last byte: what is under way then
    is not in `received_bytes`.
    """
    with server(target, IPERF_PORT, "iperf3", "-s", "-1", "-B", address):
        out = call(source, "iperf3", "-c", address, "-n", str(count), "-J", count=count)
    said = json.loads(out)
    if "error" in said:
        raise ProgramError(f"iperf3 to {address}: {said['error']}")
    end = said["end"]
    sent, received = end["sum_sent"], end["sum_received"]
    if sent["bytes"] < count or received["bytes"] < 1:
        raise ProgramError(f"iperf3 to {address}: {sent['bytes']} of {count} bytes sent, {received['bytes']} received")
    return {
        "bytes": sent["bytes"],
        "received_bytes": received["bytes"],
        "mbit_s": received["bits_per_second"] / 1e6,
        "retransmits": sent["retransmits"],
        "rtt_ms": end["streams"][0]["sender"]["mean_rtt"] / 1e3,
    }


def curl(source: Namespace, target: Namespace, address: str, folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Fetch a file of `count` random bytes. Raises `ProgramError` unless what came is the same."""
    content = random.Random(seed).randbytes(count)
    served = folder / f"served-{target.host}"
    served.mkdir(parents=True, exist_ok=True)
    (served / "file").write_bytes(content)
    got = folder / f"fetched-by-{source.host}"
    literal = f"[{address}]" if ":" in address else address
    listen = (sys.executable, "-m", "http.server", "--bind", address, str(HTTP_PORT))
    with server(target, HTTP_PORT, *listen, folder=served):
        out = call(
            source,
            *("curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "--output", str(got.resolve())),
            *("--write-out", "%{json}", f"http://{literal}:{HTTP_PORT}/file"),
            count=count,
        )
    said = json.loads(out)
    wanted, found = (hashlib.sha256(data).hexdigest() for data in (content, got.read_bytes()))
    if wanted != found:
        raise ProgramError(f"curl from {address}: sha256 {found}, expected {wanted}")
    return {"bytes": count, "sha256": found, "s": said["time_total"], "mbit_s": said["speed_download"] * 8 / 1e6}


def wait_for_addresses(namespaces: Sequence[Namespace], limit_s: float) -> None:
    """Until duplicate address detection has ended everywhere. Raises `ProgramError`."""
    deadline = time.monotonic() + limit_s
    while True:
        rows = {
            n.host: [
                address["local"]
                for link in json.loads(ip("-json", "-6", "address", "show", "dev", DEVICE, namespace=n.name))
                for address in link.get("addr_info", [])
                if address.get("tentative") or address.get("dadfailed")
            ]
            for n in namespaces
        }
        if not any(rows.values()):
            return
        if time.monotonic() > deadline:
            raise ProgramError(f"IPv6 addresses still tentative, or duplicate, after {limit_s:.0f} s: {rows}")
        time.sleep(0.1)
