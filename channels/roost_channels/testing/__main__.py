"""`python -m roost_channels.testing`: FakeTelegram and FakeTwilio until interrupted."""

import argparse
import asyncio
import contextlib
import signal
import sys

from roost_channels.testing.sandbox import serve_sandbox


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="roost_channels.testing", description=__doc__)
    parser.add_argument("--telegram-port", type=int, default=0, help="0 picks a free port")
    parser.add_argument("--twilio-port", type=int, default=0, help="0 picks a free port")
    parser.add_argument("--token", default="42:SANDBOX-TOKEN", help="the bot's token")
    parser.add_argument("--account-sid", default="AC" + "0" * 32)
    parser.add_argument("--auth-token", default="sandbox-auth-token")
    parser.add_argument("--sender", default="whatsapp:+15550001000", help="our WhatsApp number")
    parser.add_argument("--twilio-webhook", default="", help="URL that gets inbound messages")
    return parser.parse_args(arguments)


async def serve(given: argparse.Namespace) -> None:
    """Both servers until SIGINT or SIGTERM; prints where they listen."""

    def ready(telegram_url: str, twilio_url: str) -> None:
        print(f"telegram {telegram_url}", flush=True)
        print(f"twilio {twilio_url}", flush=True)

    serving = asyncio.ensure_future(
        serve_sandbox(
            token=given.token,
            account_sid=given.account_sid,
            auth_token=given.auth_token,
            sender=given.sender,
            twilio_webhook=given.twilio_webhook,
            telegram_port=given.telegram_port,
            twilio_port=given.twilio_port,
            on_ready=ready,
        )
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    asyncio.run(serve(read_arguments(sys.argv[1:])))
