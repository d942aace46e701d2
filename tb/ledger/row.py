"""What a row of the ledger is: a form, the moments that it has, and its stages, which add up."""

from __future__ import annotations

from dataclasses import dataclass, field

from sw.abi.registers import Status
from tb.ledger.stages import PacketForm, Stamp, stages_of


class LedgerError(ValueError):
    """The trace does not tell one consistent story; the message names endpoint, chain or frame, and event."""


@dataclass(kw_only=True)
class Row:
    """One packet's way through one half of the NIC: when each thing happened (cycles), and how it ended."""

    form: PacketForm
    frame_bytes: int = 0
    status: Status = Status.OK
    stamps: dict[Stamp, int] = field(default_factory=dict)
    failed_at: int | None = None

    @property
    def inside(self) -> bool:
        """A send that stayed inside the NIC: for siblings only."""
        return Stamp.RX_LOCAL in self.stamps and Stamp.DOORBELL in self.stamps and Stamp.WIRE_FIRST not in self.stamps

    @property
    def path(self) -> str:
        """What its latency is grouped by."""
        return f"{self.form} to sibling" if self.inside else str(self.form)

    @property
    def total(self) -> int:
        """End-to-end cycles: first stamp of the form to completion visible."""
        chain = stages_of(self.form, inside=self.inside)
        return self.stamps[chain[-1].end] - self.stamps[chain[0].start]

    def stages(self) -> dict[str, int]:
        """Cycles by stage. Raises `LedgerError` when a stamp is missing, a stage is negative or they do not add up."""
        cycles: dict[str, int] = {}
        for stage in stages_of(self.form, inside=self.inside):
            for stamp in (stage.start, stage.end):
                if stamp not in self.stamps:
                    raise LedgerError(f"{self} ({self.form}): no stamp {stamp}; it has {self.stamps}")
            cycles[stage.name] = self.stamps[stage.end] - self.stamps[stage.start]
            if cycles[stage.name] < 0:
                raise LedgerError(f"{self} ({self.form}): stage {stage.name!r} takes {cycles[stage.name]} cycles")
        if sum(cycles.values()) != self.total:
            raise LedgerError(f"{self} ({self.form}): stages add up to {sum(cycles.values())}, not to {self.total}")
        return cycles
