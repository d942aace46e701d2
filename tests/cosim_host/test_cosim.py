"""The simulation top's own parts: link, platform, build cache and run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.cosim.platform import HostConfig
from tb.cosim.run import run_block, run_model
from tb.cosim.toolchain import COSIM, ToolchainError, build_block, build_machine, rtl_sources

BENCHES = "tests.cosim_host"
LINK = (COSIM.parents[1] / "rtl/common/myr_pkg.sv", COSIM / "myr_link.sv")


@pytest.mark.parametrize("seed", [1, 2])
def test_link(tmp_path: Path, seed: int) -> None:
    model = build_block("link", LINK, "myr_link", {"AckInterval": 12})
    assert run_block(model, f"{BENCHES}.link_bench", tmp_path, seed=seed).passed


def test_unchanged_sources_are_not_built_again_and_a_failure_says_how_to_repeat(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = build_block("link", LINK, "myr_link", {"AckInterval": 12})
    built = model.executable.stat().st_mtime_ns
    assert build_block("link", LINK, "myr_link", {"AckInterval": 12}).executable.stat().st_mtime_ns == built
    # the bench expects 12
    other = build_block("link", LINK, "myr_link", {"AckInterval": 13})
    assert other.executable != model.executable
    result = run_block(other, f"{BENCHES}.link_bench", tmp_path, seed=1)
    assert not result.passed
    assert result.repeat in capfd.readouterr().err


def test_a_build_error_names_the_source(tmp_path: Path) -> None:
    bad = tmp_path / "bad.sv"
    bad.write_text("module bad; nonsense; endmodule\n")
    with pytest.raises(ToolchainError, match=r"bad\.sv"):
        build_block("bad", [bad], "bad")


def test_machine(tmp_path: Path) -> None:
    assert run_model(build_machine(), f"{BENCHES}.machine_bench", tmp_path, seed=1).passed


@pytest.mark.parametrize(
    ("field", "value"),
    [("mps", 512), ("mrrs", 100), ("read_latency", 0), ("credit_ph", 128), ("credit_pd", 7),
     ("starvation_permille", 1000)],
)
def test_config_names_field_and_limit(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"HostConfig\.{field} is {value}: must be"):
        HostConfig(**{field: value})  # type: ignore[arg-type]


def test_sources_come_packages_first() -> None:
    names = [f.stem for f in rtl_sources()]
    assert names.index("myr_pkg") < names.index("myr_nic_pkg") < names.index("myr_nic")
    assert rtl_sources("common") and all("common" in f.parts for f in rtl_sources("common"))
