"""`python -m bench --docs`: new tables in their places, the rest of the page as it was."""

from bench.__main__ import page

PAGE = "# Benchmarks\n\nWords.\n\n## Latest run\n\nold machine\n\n### cni\n\nold\n\n### lab\n\nkept\n"


def test_only_what_was_measured_is_replaced() -> None:
    once = page(PAGE, "new machine\n", {"cni": "### cni\n\nnew\n", "dns": "### dns\n\nnew too\n"})
    assert once == (
        "# Benchmarks\n\nWords.\n\n## Latest run\n\nnew machine\n\n"
        "### cni\n\nnew\n\n### dns\n\nnew too\n\n### lab\n\nkept\n"
    )
    assert page(once, "new machine\n", {}) == once
