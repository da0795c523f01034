"""`python -m roost_channels.testing`: run FakeTelegram, FakeTwilio and FakeCloud."""

import argparse
import asyncio
import contextlib
import signal
import sys

from roost_channels.testing.cloud import FakeCloud
from roost_channels.testing.sandbox import lasting_telegram, serve
from roost_channels.testing.twilio import FakeTwilio


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line's options; every one has a default."""
    parser = argparse.ArgumentParser(prog="roost_channels.testing", description=__doc__)
    for name in ("telegram", "twilio", "cloud"):
        parser.add_argument(f"--{name}-port", type=int, default=0, help="0 picks a free port")
    parser.add_argument("--token", default="42:SANDBOX-TOKEN", help="the bot's token")
    parser.add_argument("--account-sid", default="AC" + "0" * 32)
    parser.add_argument("--auth-token", default="sandbox-auth-token")
    parser.add_argument("--sender", default="whatsapp:+15550001000", help="our WhatsApp number")
    parser.add_argument("--twilio-webhook", default="", help="URL that gets inbound messages")
    parser.add_argument("--phone-number-id", default="106540352242922", help="our number at Meta")
    parser.add_argument("--access-token", default="sandbox-access-token")
    parser.add_argument("--app-secret", default="sandbox-app-secret")
    parser.add_argument("--cloud-webhook", default="", help="URL that gets what Meta posts")
    return parser.parse_args(arguments)


async def main(options: argparse.Namespace) -> None:
    """Serve all fakes until SIGINT or SIGTERM; print the name and URL of each."""
    fakes = {
        "telegram": lasting_telegram(options.token, options.telegram_port),
        "twilio": FakeTwilio(
            options.account_sid,
            options.auth_token,
            options.sender,
            webhook_url=options.twilio_webhook,
            port=options.twilio_port,
        ),
        "cloud": FakeCloud(
            options.phone_number_id,
            options.access_token,
            options.app_secret,
            webhook_url=options.cloud_webhook,
            port=options.cloud_port,
        ),
    }

    def ready() -> None:
        for name, fake in fakes.items():
            print(f"{name} {fake.base_url}", flush=True)

    serving = asyncio.ensure_future(serve(list(fakes.values()), ready))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    asyncio.run(main(read_arguments(sys.argv[1:])))
