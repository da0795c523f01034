"""Quotes of inbound messages, completed with the text and the passage that we have stored."""

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import InboundMessage, Quote
from roost_platform.db.outbox.quote_lookup import find_quote


async def resolved_quote(session: AsyncSession, message: InboundMessage) -> Quote | None:
    """The message's quote, completed from what we have stored.

    A quoted part of a long answer becomes the whole answer and the place of the part in it. A quote
    that comes without its text gets it. A passage that the person selected stays as it is.
    """
    quote, address = message.quote, message.address
    if quote is None or quote.ref is None or (quote.author != "bot" and quote.resolved):
        return quote
    stored = await find_quote(session, address.channel, address.account, address.chat, quote.ref)
    if stored is None:
        return quote
    is_ours = quote.author == "other" and stored.author == "bot"
    author = stored.author if is_ours else quote.author
    if not (quote.is_manual and quote.excerpt):
        return replace(stored, author=author)
    start = None if quote.utf16_start is None else (stored.utf16_start or 0) + quote.utf16_start
    return replace(quote, author=author, text=stored.text, utf16_start=start, resolved=True)
