import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept", action="store_true", help="rewrite the tables of scenario pages; flows never change")
    parser.addoption("--modes", choices=["kernel", "vm"], default="kernel", help="modes whose packets are real here")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "lane(name): where a mode's packets are real: kernel or vm")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Packets of a mode that this kernel lacks belong to another lane: not skipped here, but not of this lane."""
    here = config.getoption("--modes")

    def is_here(item: pytest.Item) -> bool:
        """A guest's kernel has what this one has, too; so what needs both is the guest's."""
        lanes = {mark.args[0] for mark in item.iter_markers("lane")}
        return not lanes or ("vm" if "vm" in lanes else "kernel") == here

    items[:] = [item for item in items if is_here(item)]
