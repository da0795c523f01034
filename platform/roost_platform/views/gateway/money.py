"""Amounts of money as people write and read them; stored as millionths of a US dollar."""

from decimal import Decimal, InvalidOperation

from roost_platform.errors import Refused

MICRO = 1_000_000
PLACES_MAX = 6
AMOUNT_MAX = Decimal(10**9)


def dollars(microusd: int | None) -> str:
    """An amount for a page: cents from one dollar on, below that every digit that is not zero."""
    if microusd is None:
        return "\N{EN DASH}"
    amount = Decimal(microusd) / MICRO
    if amount == 0:
        return "$0"
    if abs(amount) >= 1:
        return f"${amount:,.2f}".replace(",", "\u202f")
    digits = f"{amount:.6f}".rstrip("0")
    return f"${digits}{'0' * max(0, 2 - len(digits.partition('.')[2]))}"


def exact_dollars(microusd: int) -> str:
    """An amount for programs: all digits, without a sign of the currency."""
    return f"{Decimal(microusd) / MICRO:f}"


def microusd(text: str) -> int:
    """The amount that a person wrote, such as `5` or `0.25`. Raises Refused."""
    try:
        amount = Decimal(text.strip().removeprefix("$").strip())
    except InvalidOperation:
        raise Refused(f"“{text[:40]}” is no amount; write such as 5 or 0.25.") from None
    if not amount.is_finite() or not 0 < amount <= AMOUNT_MAX:
        raise Refused(f"An amount lies between 0 and {AMOUNT_MAX} dollars.")
    if amount != round(amount, PLACES_MAX):
        raise Refused("An amount has at most six digits after the point.")
    return int(amount * MICRO)
