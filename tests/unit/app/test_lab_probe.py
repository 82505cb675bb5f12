"""What a lab needs of its machine is named before anything is made."""

from pathlib import Path

import pytest

from clew.app import lab_probe
from clew.base.errors import UserError


def test_a_program_that_a_backend_needs_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lab_probe, "_PATH", str(tmp_path))
    lab_probe.check_programs("vxlan")
    for backend in ("bgp", "ospf"):
        with pytest.raises(UserError) as refused:
            lab_probe.check_programs(backend)
        assert refused.value.message == f"network: {backend} needs the program bird"
        assert refused.value.remedy == "try: apt-get install bird2"
    bird = tmp_path / "bird"
    bird.touch(0o755)
    lab_probe.check_programs("bgp")
