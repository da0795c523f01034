"""The keys of the gateway as people see them: what each may use, has used and holds."""

from dataclasses import dataclass

from roost_platform.db.gateway.key_admin import KeyRow


@dataclass(frozen=True, slots=True)
class BudgetView:
    """A budget, in millionths of a dollar or in tokens. used: in this period; held: by calls that
    run. is_money: whether it counts money.
    """

    is_money: bool
    most: int
    used: int
    held: int

    @property
    def left(self) -> int:
        """What further calls may use."""
        return max(0, self.most - self.used - self.held)

    @property
    def used_share(self) -> float:
        """The used part, 0 to 1."""
        return min(1.0, self.used / self.most) if self.most else 1.0

    @property
    def held_share(self) -> float:
        """The part that calls hold, 0 to 1, beside the used one."""
        return min(1.0 - self.used_share, self.held / self.most) if self.most else 0.0


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key without its secret. state: active | expired | revoked."""

    id: str
    name: str
    hint: str
    state: str
    models: tuple[str, ...]
    compresses: bool
    budgets: tuple[BudgetView, ...]
    period: str
    period_ends: float | None
    spent_microusd: int
    spent_tokens: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    parallel: int | None
    in_flight: int
    created_at: float
    created_by: str
    used_at: float | None
    expires_at: float | None


def key_view(row: KeyRow) -> KeyView:
    """The view of a stored key."""
    budgets = []
    if row.budget_microusd is not None:
        money = BudgetView(True, row.budget_microusd, row.spent_microusd, row.held_microusd)
        budgets.append(money)
    if row.budget_tokens is not None:
        budgets.append(BudgetView(False, row.budget_tokens, row.spent_tokens, row.held_tokens))
    return KeyView(
        id=row.id,
        name=row.name,
        hint=row.hint,
        state=row.state,
        models=row.models,
        compresses=row.compress,
        budgets=tuple(budgets),
        period=row.period,
        period_ends=row.period_ends,
        spent_microusd=row.spent_microusd,
        spent_tokens=row.spent_tokens,
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        parallel=row.parallel,
        in_flight=row.in_flight,
        created_at=row.created_at,
        created_by=row.created_by,
        used_at=row.used_at,
        expires_at=row.expires_at,
    )
