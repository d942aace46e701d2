"""Which form an endpoint's requests have, and how long its ring is: read from the waves, so that any run has it."""

from __future__ import annotations

from sw.abi.registers import Form
from tb.ledger.decode import EndpointSetup
from tb.waves.dump import Dump

_SIGNALS = ("u_nic.look_ep", "u_nic.look_ctrl.enable", "u_nic.look_ctrl.form", "u_nic.look_ctrl.send_log2")
"""The send ring looks at one endpoint after the other, all the time."""


def endpoint_setups(dump: Dump) -> dict[int, EndpointSetup]:
    """Endpoints that were enabled at some time in the dump, as they were last."""
    changes = sorted((time, n, value) for n, path in enumerate(_SIGNALS) for time, value in dump.changes(path))
    now = [0] * len(_SIGNALS)
    found: dict[int, EndpointSetup] = {}
    for n, (time, signal, value) in enumerate(changes):
        now[signal] = value
        # all changes of a moment belong together
        if now[1] and (n + 1 == len(changes) or changes[n + 1][0] != time):
            found[now[0]] = EndpointSetup(Form(now[2]), 1 << now[3])
    return found
