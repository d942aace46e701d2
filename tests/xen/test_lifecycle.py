"""Life of domains: creation, pausing, shutdown, crash, destruction, and what is left afterwards."""

from __future__ import annotations

import pytest

from hypervisor_model.switch import PAUSE_MAC
from sw.abi.registers import Form
from sw.xen.errno import HypercallError
from tests.model.model_support import machine


def test_control_domain_is_number_0_privileged_and_alone() -> None:
    platform, hv = machine()
    guest = hv.create_domain("guest", 16)
    dom0 = hv.create_control_domain(16)
    assert (guest.domid, dom0.domid, dom0.privileged, guest.privileged) == (1, 0, True, False)
    assert hv.create_domain("other", 16).domid == 2
    with pytest.raises(HypercallError, match="exists"):
        hv.create_control_domain(16)
    (grant,) = platform.run(dom0.hypercall.endpoint_allocate(Form.PUSHED))
    assert grant.mac != PAUSE_MAC.to_bytes(6, "big")
