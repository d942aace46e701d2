"""Generate everything that is derived from `myrmidon.rdl`.

Usage: `python rtl/regs/generate.py [--check]`. With `--check` nothing is written and a stale file is an error.

Outputs: `rtl/regs/generated/*.sv` (constants package, two PeakRDL register blocks), `sw/abi/registers.py`,
`sw/abi/*.h`, `docs/abi.md`; for verification `tb/uvm/generated/registers.py` and `tb/cosim/generated/myr_regs_peek.sv`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from peakrdl_cheader.exporter import CHeaderExporter
from peakrdl_markdown import MarkdownExporter
from peakrdl_regblock import RegblockExporter
from peakrdl_regblock.cpuif.passthrough import PassthroughCpuif
from peakrdl_regblock.udps import ALL_UDPS
from systemrdl import RDLCompiler
from systemrdl.node import AddrmapNode, FieldNode, MemNode, Node, RegNode
from systemrdl.rdltypes.user_enum import UserEnum

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "rtl/regs/myrmidon.rdl"
MAPS = ("aperture", "send_descriptor", "completion", "receive_buffer", "receive_completion", "dma_address", "trace_record",
        "nic_control", "iommu")
REGBLOCKS = {"nic_control": "myr_nic_regs", "iommu": "myr_iommu_regs"}
BACK_DOORS = {"nic_control": "u_nic.u_regs", "iommu": "u_iommu.u_regs"}
"""Address maps whose register block the back door reaches, by its path in `myr_top`."""
# The page shows one element of each array.
DOC_PARAMETERS = {"nic_control": {"N_ENDPOINTS": 1, "N_WINDOWS": 1}, "iommu": {"N_FAULT_RECORDS": 1}}
NOTICE = "Generated from rtl/regs/myrmidon.rdl by rtl/regs/generate.py; do not edit."


def elaborate(name: str, **parameters: int) -> AddrmapNode:
    """One address map of the source, elaborated by itself, with its parameters overridden."""
    compiler = RDLCompiler()
    for udp in ALL_UDPS:
        compiler.register_udp(udp)
    compiler.compile_file(str(SOURCE))
    return compiler.elaborate(name, parameters=parameters).top


def registers(top: AddrmapNode) -> list[tuple[str, RegNode | MemNode]]:
    """Registers and memories below `top` with their upper-case names; of an array, the first element."""
    found: list[tuple[str, RegNode | MemNode]] = []

    def walk(node: Node, prefix: str) -> None:
        for child in node.children():
            name = f"{prefix}{child.inst_name}".upper()
            if isinstance(child, (RegNode, MemNode)):
                found.append((name, child))
            elif not isinstance(child, FieldNode):
                # an inner address map groups, it names nothing
                walk(child, prefix if isinstance(child, AddrmapNode) else f"{name}_")

    walk(top, "")
    return found


def arrays(top: AddrmapNode) -> list[tuple[str, int, int, int]]:
    """Arrays of register files: (name, base, stride, count)."""
    rows = []
    for node in top.descendants(unroll=False):
        if not isinstance(node, (RegNode, FieldNode, MemNode)) and node.is_array:
            count = node.array_dimensions[0]
            node.current_idx = [0]
            rows.append((node.inst_name.upper(), node.absolute_address, node.array_stride, count))
    return rows


def enums(tops: dict[str, AddrmapNode]) -> dict[str, type[UserEnum]]:
    """Every enumeration that a field encodes, by name."""
    found: dict[str, type[UserEnum]] = {}
    for top in tops.values():
        for node in top.descendants(unroll=False):
            if isinstance(node, FieldNode) and (encode := node.get_property("encode")) is not None:
                found.setdefault(encode.type_name, encode)
    return found


def address(node: RegNode | MemNode) -> int:
    """Address of a register in its map; inside an array, of element 0."""
    parent: Node | None = node
    while parent is not None:
        if getattr(parent, "is_array", False):
            parent.current_idx = [0]
        parent = parent.parent
    return int(node.absolute_address)


def constant(field: FieldNode) -> int | None:
    """Value of a field that neither software nor hardware can change and that is not zero."""
    value = field.get_property("reset")
    fixed = not field.is_sw_writable and not field.is_hw_writable
    return value if fixed and isinstance(value, int) and value else None


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.lower().split("_"))


def system_verilog(tops: dict[str, AddrmapNode]) -> str:
    out = ["`default_nettype none", f"// {NOTICE}", "package myr_abi_pkg;"]
    for name, kind in enums(tops).items():
        width = {"form_e": 1, "mode_e": 3, "switch_e": 2}.get(name, 8)
        members = [f"    {camel(name[:-2])}{camel(m.name)} = {width}'d{m.value}" for m in kind]
        out += [f"  typedef enum logic [{width - 1}:0] {{", ",\n".join(members), f"  }} {name};"]
        if name == "trace_kind_e":
            out.append(f"  localparam int unsigned TraceKinds = {sum(1 for _ in kind)};")
    for map_name, top in tops.items():
        for name, base, stride, count in arrays(top):
            prefix = f"{camel(map_name)}{camel(name)}"
            out += [f"  localparam int unsigned {prefix}Base = 32'h{base:X};",
                    f"  localparam int unsigned {prefix}Stride = 32'h{stride:X};",
                    f"  localparam int unsigned {prefix}Count = {count};"]
        for name, node in registers(top):
            prefix = f"{camel(map_name)}{camel(name)}"
            out.append(f"  localparam int unsigned {prefix}Addr = 32'h{address(node):X};")
            if isinstance(node, MemNode):
                out.append(f"  localparam int unsigned {prefix}Size = 32'h{node.size:X};")
                continue
            for field in node.fields():
                out += [f"  localparam int unsigned {prefix}{camel(field.inst_name)}Lsb = {field.low};",
                        f"  localparam int unsigned {prefix}{camel(field.inst_name)}Width = {field.width};"]
                if (value := constant(field)) is not None:
                    out.append(f"  localparam int unsigned {prefix}{camel(field.inst_name)}Value = {value};")
    return "\n".join([*out, "endpackage", "`default_nettype wire", ""])


def python(tops: dict[str, AddrmapNode]) -> str:
    out = [f'"""Registers, descriptors and trace records. {NOTICE}"""', "",
           "from enum import IntEnum", "from typing import Final", ""]
    for name, kind in enums(tops).items():
        out += ["", f"class {camel(name[:-2])}(IntEnum):", f'    """`{name}` of the register source."""', ""]
        for member in kind:
            out.append(f"    {member.name} = {member.value}")
            if member.rdl_desc:
                out.append(f'    """{member.rdl_desc}"""')
        out.append("")
    for map_name, top in tops.items():
        title = top.get_property("name")
        out += ["", f"class {camel(map_name)}:",
                f'    """{title}: byte offsets; of each field, its mask (`_M`) and shift (`_S`)."""', "",
                f"    BYTES: Final = 0x{top.size:X}"]
        for name, base, stride, count in arrays(top):
            out += [f"    {name}_BASE: Final = 0x{base:X}", f"    {name}_STRIDE: Final = 0x{stride:X}",
                    f"    {name}_COUNT: Final = {count}"]
        for name, node in registers(top):
            out.append(f"    {name}: Final = 0x{address(node):X}")
            if isinstance(node, MemNode):
                out.append(f"    {name}_BYTES: Final = 0x{node.size:X}")
                continue
            for field in node.fields():
                label = f"{name}_{field.inst_name.upper()}"
                mask = ((1 << field.width) - 1) << field.low
                out += [f"    {label}_M: Final = 0x{mask:X}", f"    {label}_S: Final = {field.low}"]
                if (value := constant(field)) is not None:
                    out.append(f"    {label}_VALUE: Final = {value}")
        out.append("")
    return "\n".join(out)


def gate_readback(block: str) -> str:
    """A register block whose read multiplexer is 0 when nothing is read: simulation skips it in all other cycles."""
    # external memories answer later than they are asked
    reading = "decoded_req | readback_external_rd_ack" if "readback_external_rd_ack;" in block else "decoded_req"
    for old, new in (
        ("readback_data_var = '0;\n", f"readback_data_var = '0;\n        if({reading}) begin\n"),
        ("        readback_data = readback_data_var;\n", "        end\n        readback_data = readback_data_var;\n"),
    ):
        if block.count(old) != 1:
            raise ValueError(f"register block: {old.strip()!r} found {block.count(old)} times, expected once")
        block = block.replace(old, new)
    return block


def policy(field: FieldNode) -> str:
    """Access policy in UVM's terms (IEEE 1800.2, 18.5.4)."""
    if not field.is_sw_writable:
        return "RO"
    if not field.is_sw_readable:
        return "WO"
    return "W1C" if field.get_property("onwrite") is not None else "RW"


def register_table(tops: dict[str, AddrmapNode]) -> str:
    """Registers with their fields, as data for a register model."""
    out = [f'"""Registers, fields and access policies for the register model. {NOTICE}"""', "",
           "from tb.uvm.register_table import Array, Block, Field, Register"]
    for map_name in ("aperture", "nic_control", "iommu"):
        rows: dict[str, list[str]] = {"": []}
        spans = {name: (base, stride, count) for name, base, stride, count in arrays(tops[map_name])}
        for name, node in registers(tops[map_name]):
            if isinstance(node, MemNode):
                continue
            owner = next((p.inst_name.upper() for p in _parents(node) if p.inst_name.upper() in spans), "")
            fields = ", ".join(
                f"Field({field.inst_name!r}, {field.low}, {field.width}, {policy(field)!r},"
                f" {field.get_property('reset') if isinstance(field.get_property('reset'), int) else None},"
                f" volatile={bool(field.is_hw_writable or field.is_up_counter or field.get_property('singlepulse'))},"
                f" stored={field.implements_storage and map_name in BACK_DOORS and _in_block(node)})"
                for field in node.fields())
            rows.setdefault(owner, []).append(f"        Register({name!r}, 0x{address(node):X}, ({fields},)),")
        out += ["", f"{map_name.upper()} = Block(", f"    {map_name!r},", f"    0x{tops[map_name].size:X},", "    (", *rows.pop(""), "    ),", "    ("]
        for array, lines in rows.items():
            base, stride, count = spans[array]
            out += [f"        Array({array!r}, 0x{base:X}, 0x{stride:X}, {count}, (", *(f"    {line}" for line in lines), "        )),"]
        out += ["    ),", ")"]
    return "\n".join([*out, ""])


def peek_module(tops: dict[str, AddrmapNode]) -> str:
    """A module that reads and writes the two register blocks behind the bus: storage, wires and constants."""
    out = ["`default_nettype none", f"/// Back door into the register blocks, for verification. {NOTICE}",
           "/// Bit 32 of what a function returns: there is such a register. A task changes what is stored, with the next clock edge's results.",
           "module myr_regs_peek;"]
    for map_name, path in BACK_DOORS.items():
        peek, poke = [], []
        for node in tops[map_name].descendants(unroll=True, in_post_order=False):
            if not isinstance(node, RegNode) or not _in_block(node):
                continue
            where = ".".join([*(f"{p.inst_name}[{p.current_idx[0]}]" if p.is_array and p.current_idx else p.inst_name
                                for p in reversed(_parents(node))), node.inst_name])
            parts = [_value(field, path, where) for field in node.fields()]
            value = " | ".join(part for part in parts if part) or "32'd0"
            peek.append(f"      32'h{node.absolute_address:X}: return {{31'd0, 1'b1, {value}}};")
            stores = [f"{_storage(field, path, where)} <= value[{field.high}:{field.low}];"
                      for field in node.fields() if field.implements_storage]
            if stores:
                poke.append(f"      32'h{node.absolute_address:X}: begin {' '.join(stores)} end")
        out += [f'  export "DPI-C" function myr_peek_{map_name};',
                f"  function automatic longint unsigned myr_peek_{map_name}(input int unsigned address);",
                "    unique case (address)", *peek, "      default: return '0;", "    endcase", "  endfunction",
                f'  export "DPI-C" task myr_poke_{map_name};',
                f"  task automatic myr_poke_{map_name}(input int unsigned address, input int unsigned value);",
                "    unique case (address)", *poke, "      default: ;", "    endcase", "  endtask"]
    return "\n".join([*out, "endmodule", "`default_nettype wire", ""])


def _parents(node: Node) -> list[Node]:
    """Register files and inner address maps around a register, the innermost first."""
    found: list[Node] = []
    parent = node.parent
    while parent is not None and parent.inst_name not in REGBLOCKS:
        found.append(parent)
        parent = parent.parent
    return found


def _in_block(node: RegNode) -> bool:
    """Whether it is in the register block itself: inner address maps are tables beside it."""
    return not any(isinstance(parent, AddrmapNode) for parent in _parents(node))


def _value(field: FieldNode, path: str, where: str) -> str:
    """SystemVerilog that yields a field in its place; nothing for a constant 0 and for what cannot be read."""
    if not field.is_sw_readable and not field.implements_storage:
        return ""
    if field.implements_storage:
        return f"(32'({_storage(field, path, where)}) << {field.low})"
    if field.is_hw_writable:
        return f"(32'({path}.hwif_in.{where}.{field.inst_name}.next) << {field.low})"
    reset = field.get_property("reset")
    return f"32'h{reset << field.low:X}" if isinstance(reset, int) and reset else ""


def _storage(field: FieldNode, path: str, where: str) -> str:
    """The flip-flops of a field."""
    return f"{path}.field_storage.{where}.{field.inst_name}.value"


def generate(root: Path) -> None:
    """Write all derived files below `root`."""
    tops = {name: elaborate(name) for name in MAPS}
    for folder in ("rtl/regs/generated", "sw/abi", "docs", "tb/uvm/generated", "tb/cosim/generated"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "rtl/regs/generated/myr_abi_pkg.sv").write_text(system_verilog(tops))
    (root / "sw/abi/registers.py").write_text(python(tops))
    (root / "tb/uvm/generated/registers.py").write_text(register_table(tops))
    (root / "tb/cosim/generated/myr_regs_peek.sv").write_text(peek_module(tops))
    for name, module in REGBLOCKS.items():
        RegblockExporter().export(elaborate(name), str(root / "rtl/regs/generated"), cpuif_cls=PassthroughCpuif,
                                  module_name=module, package_name=f"{module}_pkg")
        sv = root / f"rtl/regs/generated/{module}.sv"
        sv.write_text(gate_readback(sv.read_text()))
    for name in MAPS:
        CHeaderExporter().export(elaborate(name), path=str(root / f"sw/abi/{name}.h"))
    parts = ["# Guest ABI and privileged registers", "", f"{NOTICE}", "",
             "The first six sections are what a guest sees; the others belong to the hypervisor and the bench.", ""]
    with tempfile.TemporaryDirectory() as scratch:
        for name in MAPS:
            page = Path(scratch) / f"{name}.md"
            MarkdownExporter().export(elaborate(name, **DOC_PARAMETERS.get(name, {})), str(page), depth=0)
            parts.append(page.read_text().split("-->", 1)[1].strip() + "\n")
    (root / "docs/abi.md").write_text("\n".join(parts))


def fresh(scratch: Path) -> dict[str, Path]:
    """What the source gives now, below `scratch`, by name."""
    generate(scratch)
    return {str(p.relative_to(scratch)): p for p in scratch.rglob("*") if p.is_file()}


def stale(files: dict[str, Path]) -> list[str]:
    """Names of generated files that differ from `files`."""
    return [name for name, file in files.items()
            if not (ROOT / name).is_file() or (ROOT / name).read_bytes() != file.read_bytes()]


def replace(name: str, file: Path) -> None:
    """Put `file` in its place at once: another verb may be reading there."""
    beside = ROOT / f"{name}.new"
    beside.write_bytes(file.read_bytes())
    os.replace(beside, ROOT / name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a generated file is stale")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as scratch:
        files = fresh(Path(scratch))
        names = stale(files)
        for name in names:
            if check:
                print(f"{name}: stale, run `make regs`", file=sys.stderr)
            else:
                replace(name, files[name])
    return 1 if check and names else 0


if __name__ == "__main__":
    sys.exit(main())
