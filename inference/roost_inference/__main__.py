"""`python -m roost_inference`: the engine alone, without the platform."""

import argparse
import logging
import sys
from pathlib import Path

from roost_inference.config import EngineConfig
from roost_inference.errors import EngineError
from roost_inference.server import serve_engine


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m roost_inference", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8421, help="0 picks a free one")
    parser.add_argument("--model", type=Path, help="a GGUF; without it the bundled small model")
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache" / "roost-engine")
    parser.add_argument("--api-key", default="", help="ask clients for this bearer token")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    config = EngineConfig.model_validate(
        {
            "host": options.host,
            "port": options.port,
            "model": options.model,
            "api_key": options.api_key,
        }
    )
    try:
        serve_engine(config, options.data, on_listening=lambda url: print(url, flush=True))
    except (EngineError, OSError) as error:
        print(f"roost_inference: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
