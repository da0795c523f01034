"""`python -m roost_channels.testing`: FakeTelegram, FakeTwilio and FakeCloud until interrupted."""

import argparse
import asyncio
import contextlib
import signal
import sys

from roost_channels.testing.cloud import FakeCloud
from roost_channels.testing.sandbox import lasting_telegram, serve
from roost_channels.testing.twilio import FakeTwilio


def read_arguments(arguments: list[str]) -> argparse.Namespace:
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


async def main(given: argparse.Namespace) -> None:
    """All servers until SIGINT or SIGTERM; prints where they listen."""
    fakes = {
        "telegram": lasting_telegram(given.token, given.telegram_port),
        "twilio": FakeTwilio(
            given.account_sid,
            given.auth_token,
            given.sender,
            webhook_url=given.twilio_webhook,
            port=given.twilio_port,
        ),
        "cloud": FakeCloud(
            given.phone_number_id,
            given.access_token,
            given.app_secret,
            webhook_url=given.cloud_webhook,
            port=given.cloud_port,
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
