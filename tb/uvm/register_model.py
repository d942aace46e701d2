"""The register model: pyuvm's blocks, registers and fields, built from the generated tables."""

from __future__ import annotations

from collections.abc import Iterable

from pyuvm import (
    uvm_access_e,
    uvm_endianness_e,
    uvm_reg,
    uvm_reg_adapter,
    uvm_reg_block,
    uvm_reg_bus_op,
    uvm_reg_field,
    uvm_sequencer,
    uvm_status_e,
)

from tb.uvm.backdoor import RegisterDoor
from tb.uvm.items import MmioItem
from tb.uvm.register_table import Block, Field, Register

WORD = 4
BITS = 32


class MmioAdapter(uvm_reg_adapter):
    """Register operations as MMIO accesses of the hypervisor."""

    def reg2bus(self, rw: uvm_reg_bus_op) -> MmioItem:
        """One access."""
        write = rw.kind == uvm_access_e.UVM_WRITE
        return MmioItem(rw.addr, rw.data.to_bytes(WORD, "little") if write else b"", write=write)

    def bus2reg(self, bus_item: MmioItem, rw: uvm_reg_bus_op) -> None:
        """Its answer."""
        if not bus_item.write:
            rw.data = int.from_bytes(bus_item.data, "little")
        rw.status = uvm_status_e.UVM_IS_OK


class ModelRegister(uvm_reg):
    """One register, with its back door where the hardware has one (`uvm_reg` of pyuvm 5.0.0 cannot go through one)."""

    def __init__(self, table: Register, name: str, offset: int) -> None:
        super().__init__(name, BITS)
        self.table = table
        self.offset = offset
        """In its block."""
        self.back_door: RegisterDoor | None = None

    def build(self) -> None:
        """Fields."""
        for field in self.table.fields:
            one = uvm_reg_field(field.name)
            one.configure(self, field.bits, field.lsb, field.policy, field.volatile, field.reset or 0, field.reset is not None,
                          False, False)

    def look(self) -> int | None:
        """Its value through the back door; None: there is none."""
        return self.back_door.look(self.offset) if self.back_door is not None else None

    def store(self, value: int) -> None:
        """Put a value into its flip-flops through the back door."""
        if self.back_door is None:
            raise ValueError(f"{self.get_full_name()}: it has no back door")
        self.back_door.store(self.offset, value)

    def stored(self, *policies: str) -> int:
        """Bits of fields with one of these policies that `store` reaches."""
        return self._bits(field for field in self.table.fields if field.policy in policies and field.stored)

    def mask(self, *policies: str, volatile: bool = True) -> int:
        """Bits of fields with one of these policies; without `volatile` only those that hardware leaves alone."""
        return self._bits(field for field in self.table.fields if field.policy in policies and (volatile or not field.volatile))

    @staticmethod
    def _bits(fields: Iterable[Field]) -> int:
        return sum(((1 << field.bits) - 1) << field.lsb for field in fields)

    def reset_value(self) -> tuple[int, int]:
        """Value after reset, and the bits in which it is known."""
        value = known = 0
        for field in self.table.fields:
            if field.reset is not None and field.policy != "WO":
                value |= field.reset << field.lsb
                known |= ((1 << field.bits) - 1) << field.lsb
        return value, known


class ModelBlock(uvm_reg_block):
    """One address map at a machine address."""

    def __init__(
        self,
        table: Block,
        base: int,
        sequencer: uvm_sequencer,
        *,
        elements: Iterable[int] = (0,),
        back_door: RegisterDoor | None = None,
    ) -> None:
        """`elements`: of each array, these; others would only repeat them."""
        super().__init__(table.name)
        self.table = table
        self.base = base
        self.registers: list[ModelRegister] = []
        self.map = self.create_map("map", base, WORD, uvm_endianness_e.UVM_LITTLE_ENDIAN)
        rows = [(register, register.name, register.address) for register in table.registers]
        for array in table.arrays:
            for number in elements:
                if number < array.count:
                    rows += [(r, f"{r.name}[{number}]", r.address + number * array.stride) for r in array.registers]
        for register, name, offset in rows:
            one = ModelRegister(register, name, offset)
            one.configure(self)
            one.build()
            one.back_door = back_door
            self.map.add_reg(one, offset)
            self.registers.append(one)
        self.map.set_sequencer(sequencer, MmioAdapter())
        self.lock_model()

    def holes(self) -> list[int]:
        """Word offsets between the block's first registers, and up to the first array, where there is none."""
        taken = {register.address for register in self.table.registers}
        end = min([array.base for array in self.table.arrays] or [max(taken) + WORD])
        return [offset for offset in range(0, end, WORD) if offset not in taken]
