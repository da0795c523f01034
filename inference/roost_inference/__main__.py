"""`python -m roost_inference`: the engine alone, without the platform."""

import argparse
import logging
import sys
from pathlib import Path

from pydantic import ValidationError

from roost_inference.config import EngineConfig
from roost_inference.errors import EngineError
from roost_inference.http.access.origin import LOOPBACK_HOSTS
from roost_inference.llama import builds


def main() -> int:
    """Run the engine from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m roost_inference", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8421, help="0 picks a free one")
    parser.add_argument("--model", type=Path, help="a GGUF; without it the bundled small model")
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache" / "roost-engine")
    parser.add_argument("--api-key", default="", help="ask clients for this bearer token")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help="any other setting of the engine, e.g. --set context_length=8192",
    )
    options = parser.parse_args()
    if options.host not in LOOPBACK_HOSTS and not options.api_key:
        print("roost_inference: only loopback goes without --api-key", file=sys.stderr)
        return 1
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        config = EngineConfig.model_validate(
            {
                "host": options.host,
                "port": options.port,
                "model": options.model,
                "api_key": options.api_key,
                **dict(options.set),
            }
        )
        builds.want(config.kernels)
        from roost_inference.server import serve_engine

        serve_engine(config, options.data, on_listening=lambda url: print(url, flush=True))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        print("roost_inference: " + "; ".join(problems), file=sys.stderr)
        return 1
    except (EngineError, OSError) as error:
        print(f"roost_inference: {error}", file=sys.stderr)
        return 1
    return 0


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name.strip(), value


if __name__ == "__main__":
    sys.exit(main())
