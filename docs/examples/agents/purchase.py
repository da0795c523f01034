"""Buys something that takes days to come, and takes everything back if it never does."""

from datetime import timedelta

from roost import Context, FlowContext, ToolFailed, flow, tool

DAYS_MAX = 10
# These stand for a shop and a bank, which know each of our keys.
RESERVED: dict[str, str] = {}
PAID: dict[str, int] = {}
ARRIVED: set[str] = set()


@tool(effect="idempotent", label="Reserving it")
async def reserve(ctx: Context, item: str) -> str:
    """Reserve an item; returns the order's number."""
    RESERVED[ctx.key] = item
    return ctx.key


@tool(effect="idempotent", label="Releasing it")
async def release(order: str) -> None:
    """Give a reserved item free."""
    RESERVED.pop(order, None)


def payment_of(key: str) -> str | None:
    """What the bank says of a payment that was interrupted."""
    return key if key in PAID else None


@tool(effect="verifiable", check=payment_of, label="Paying")
async def pay(ctx: Context, amount: int) -> str:
    """Pay; returns the payment's number."""
    assert ctx.key not in PAID, "paid twice"
    PAID[ctx.key] = amount
    return ctx.key


@tool(effect="idempotent", label="Taking the money back")
async def refund(payment: str) -> None:
    """Take a payment back."""
    PAID.pop(payment, None)


@tool(effect="pure", label="Asking the carrier")
async def has_arrived(order: str) -> bool:
    """Tell whether an order was delivered."""
    return order in ARRIVED


@flow
async def purchase(ctx: FlowContext, item: str, euros: int) -> str:
    """Buy an item: reserve it, ask, pay, and wait until it is here."""
    order = await ctx.call(reserve, item=item)
    ctx.compensate(release, order=order)
    if not await ctx.approve(f"Pay {euros} € for {item}?", timeout=timedelta(days=7)):
        await ctx.call(release, order=order)
        return "Then I don't buy it."
    payment = await ctx.call(pay, amount=euros)
    ctx.compensate(refund, payment=payment)
    for day in range(DAYS_MAX):
        ctx.progress(f"Day {day + 1}: it is on its way")
        await ctx.sleep(timedelta(days=1))
        if await ctx.call(has_arrived, order=order):
            return f"{item} came on day {day + 1}."
    # An error undoes what was registered, the newest first: the refund, then the release.
    raise ToolFailed(f"{item} did not come in {DAYS_MAX} days.")
