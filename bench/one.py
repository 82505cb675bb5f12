"""One benchmark in a process of its own: `python -m bench.one NAME SCALE`, started by `python -m bench`.

Standard output is a JSON line an event: {"about": text} once, {"say": text}, {"figure": {…}}.
"""

import importlib
import sys

import msgspec


def tell(event: str, value: object) -> None:
    sys.stdout.write(msgspec.json.encode({event: value}).decode() + "\n")
    sys.stdout.flush()


def main(name: str, scale: float) -> None:
    module = importlib.import_module(f"bench.{name}")
    tell("about", (module.__doc__ or "").strip().partition("\n")[0])
    for figure in module.figures(scale, lambda text: tell("say", text)):
        tell("figure", figure)


if __name__ == "__main__":
    try:
        main(sys.argv[1], float(sys.argv[2]))
    except KeyboardInterrupt:
        sys.exit(130)
