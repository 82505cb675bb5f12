"""A lab's name becomes folders that `clew down` removes: `--name ../..` once meant /var/lib and more."""

import pytest

from clew.base.errors import UserError
from clew.cluster.paths import LabPaths


@pytest.mark.parametrize("name", ["..", "../../etc", "a/b", "", "a.lock", "-a", "a-", "ä", "a" * 41, "a b"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="a lab cannot be called"):
        LabPaths(name)


@pytest.mark.parametrize("name", ["clew", "a", "A-1", "a" * 40])
def test_labels_are_names(name: str) -> None:
    assert LabPaths(name).state.name == name
