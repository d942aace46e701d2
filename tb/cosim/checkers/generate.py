"""Generate what is derived from `rules.toml`: the package of the checkers and the page of their rules.

Usage: `python -m tb.cosim.checkers.generate [--check]`. With `--check` nothing is written and a stale file is an error.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tb.cosim.toolchain import ROOT

SOURCE: Final = Path(__file__).with_name("rules.toml")
NOTICE: Final = "Generated from tb/cosim/checkers/rules.toml by tb/cosim/checkers/generate.py; do not edit."
CHECKERS: Final = {
    "stream": "Every valid/ready stream: TLPs, walks of the IOMMU, and what the blocks hand each other.",
    "tlp": "Format of each TLP: at the NIC's pins, and between IOMMU and root complex.",
    "completion": "Requests and their answers: reads of the NIC, accesses of the processor.",
    "credit": "Flow control, both ways.",
    "order": "What may not overtake what: in the IOMMU, and of payload, completion entry and interrupt.",
    "ethernet": "The line, both ways. Towards the NIC the length and FCS may be wrong: then its verdict is checked.",
}
"""Of each checker module `myr_check_<name>`, what it watches."""


class RuleError(ValueError):
    """`rules.toml` is wrong: the message names file, rule and field."""


@dataclass(frozen=True)
class Rule:
    """One rule: `ident` as messages name it, the checker that applies it, its sentence, where it stands."""

    ident: str
    checker: str
    text: str
    spec: str

    @property
    def enumerator(self) -> str:
        """Its name in `rule_e`."""
        return "Rule" + "".join(part.capitalize() for part in self.ident.split("-"))

    @property
    def line(self) -> str:
        """What a message says: id, sentence, source."""
        return f"{self.ident} {self.text} ({self.spec})"


def load(source: Path = SOURCE) -> list[Rule]:
    """The rules in the order of the file; raises `RuleError`."""
    rules: list[Rule] = []
    for number, entry in enumerate(tomllib.loads(source.read_text())["rule"], 1):
        where = f"{source}: rule {number}"
        if set(entry) != {"id", "checker", "text", "spec"}:
            raise RuleError(f"{where}: has {', '.join(entry)}; must have id, checker, text, spec")
        rule = Rule(entry["id"], entry["checker"], entry["text"], entry["spec"])
        if not re.fullmatch(r"[A-Z]+-[0-9A-Z]+", rule.ident) or rule.ident in {old.ident for old in rules}:
            raise RuleError(f"{where}: id {rule.ident!r} is not NAME-NAME in capitals, or is there twice")
        if rule.checker not in CHECKERS:
            raise RuleError(f"{where}: checker {rule.checker!r} is none of {', '.join(CHECKERS)}")
        if not re.fullmatch(r'[^"\\%]+\.', rule.text) or not re.fullmatch(r'[^"\\%]+', rule.spec):
            raise RuleError(f"{where}: text must be a sentence, and neither it nor spec may have quotes or percent signs")
        rules.append(rule)
    return rules


def package(rules: Sequence[Rule]) -> str:
    """`myr_rules_pkg.sv`."""
    names = ",\n".join(f"    {rule.enumerator}" for rule in rules)
    lines = "\n".join(f'      {rule.enumerator}: return "{rule.line}";' for rule in rules)
    idents = "\n".join(f'      {rule.enumerator}: return "{rule.ident}";' for rule in rules)
    checkers = "\n".join(f'      {rule.enumerator}: return "{rule.checker}";' for rule in rules)
    return f"""`default_nettype none
/// The rules of the protocol checkers. {NOTICE}
package myr_rules_pkg;
  /// Rules.
  localparam int unsigned Rules = {len(rules)};

  /// A rule.
  typedef enum int unsigned {{
{names}
  }} rule_e;

  /// Id, sentence and source of a rule.
  function automatic string rule_line(input rule_e rule);
    case (rule)
{lines}
      default: return "";
    endcase
  endfunction

  /// Its id.
  function automatic string rule_id(input rule_e rule);
    case (rule)
{idents}
      default: return "";
    endcase
  endfunction

  /// The checker that applies it.
  function automatic string rule_checker(input rule_e rule);
    case (rule)
{checkers}
      default: return "";
    endcase
  endfunction
endpackage
`default_nettype wire
"""


def page(rules: Sequence[Rule]) -> str:
    """`docs/checkers.md`."""
    parts = [
        "# The protocol checkers",
        "",
        NOTICE,
        "",
        "They watch every beat of the co-simulation, in `tb/cosim/checkers/`, and are on unless `HostConfig.checkers` is",
        "False. A broken rule ends the run with one line: checker, cycle, stream, rule, values; `tb/cosim/run.py` prints it",
        "with the command that repeats the run. At the end of a run `sim.log` says how often each rule was applied on each",
        "stream, 0 included.",
        "",
    ]
    for checker, watches in CHECKERS.items():
        parts += [f"## `myr_check_{checker}`", "", watches, "", "| rule | | source |", "|---|---|---|"]
        parts += [f"| {rule.ident} | {rule.text} | {rule.spec} |" for rule in rules if rule.checker == checker]
        parts.append("")
    return "\n".join(parts)


def outputs(rules: Sequence[Rule]) -> dict[str, str]:
    """File name, from the project's root, to what is in it."""
    return {"tb/cosim/checkers/myr_rules_pkg.sv": package(rules), "docs/checkers.md": page(rules)}


def stale() -> list[str]:
    """Generated files that differ from what the source gives now."""
    return [name for name, text in outputs(load()).items()
            if not (ROOT / name).is_file() or (ROOT / name).read_text() != text]


def main() -> int:
    parser = argparse.ArgumentParser(description="Generate what is derived from rules.toml.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a generated file is stale")
    if parser.parse_args().check:
        found = stale()
        for name in found:
            print(f"{name}: stale, run `make regs`", file=sys.stderr)
        return 1 if found else 0
    for name, text in outputs(load()).items():
        (ROOT / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
