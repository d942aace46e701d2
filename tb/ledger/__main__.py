"""`python -m tb.ledger [RUN] [--endpoint N --packet K]`: the latency table of a run, or one packet's timeline."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from tb.ledger.decode import decode
from tb.ledger.latency import latencies, table
from tb.ledger.row import LedgerError
from tb.ledger.run import TRACE_FILE, load
from tb.ledger.timeline import timeline


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tb.ledger", description=__doc__)
    parser.add_argument("run", nargs="?", type=Path, default=Path("build/sim"), help="folder of a run")
    parser.add_argument("--endpoint", type=int, help="show one packet of this endpoint")
    parser.add_argument("--packet", type=int, default=0, help="which of the endpoint's packets, from 0")
    args = parser.parse_args()
    try:
        run = load(args.run)
    except LedgerError as error:
        parser.error(str(error))
    try:
        packets = decode(run.records, run.setups)
    except LedgerError as error:
        parser.error(f"{args.run / TRACE_FILE}: {error}")
    if args.endpoint is None:
        Console().print(table(latencies(packets)))
        return 0
    own = [packet for packet in packets if packet.endpoint == args.endpoint]
    if not 0 <= args.packet < len(own):
        parser.error(f"--packet {args.packet}: endpoint {args.endpoint} has {len(own)} packets in this trace")
    print(timeline(own[args.packet]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
