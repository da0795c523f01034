"""What a quote means by what we stored: the whole message, and the passage in it."""

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import InboundMessage, Quote
from roost_platform.db.outbox.quote_lookup import find_quote


async def resolved(session: AsyncSession, message: InboundMessage) -> Quote | None:
    """The message's quote, completed where we know more than the network tells.

    Of one part of a long answer the whole answer is known, and where the passage is in it; of a
    message that comes without its words we may have them. What the person selected stays as it is.
    """
    quote, address = message.quote, message.address
    if quote is None or quote.ref is None or (quote.author != "bot" and quote.resolved):
        return quote
    found = await find_quote(session, address.channel, address.account, address.chat, quote.ref)
    if found is None:
        return quote
    is_ours = quote.author == "other" and found.author == "bot"
    author = found.author if is_ours else quote.author
    if not (quote.is_manual and quote.excerpt):
        return replace(found, author=author)
    start = None if quote.utf16_start is None else (found.utf16_start or 0) + quote.utf16_start
    return replace(quote, author=author, text=found.text, utf16_start=start, resolved=True)
