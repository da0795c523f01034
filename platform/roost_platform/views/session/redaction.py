"""The session page for those who may not read everything: without texts, or without errors."""

from collections.abc import Sequence
from dataclasses import replace

from roost_platform.views.session.transcript import Bubble, CallView
from roost_platform.views.session.view import ConversationView
from roost_platform.views.sessions import hidden
from roost_platform.views.waiting.waits import WaitView


def without_errors(view: ConversationView) -> ConversationView:
    """The same view for somebody who is no operator: traces and engines' words are left out."""

    def calls(given: Sequence[CallView]) -> tuple[CallView, ...]:
        return tuple(replace(call, error="") for call in given)

    run = view.running
    return replace(
        view,
        bubbles=tuple(replace(b, calls=calls(b.calls)) for b in view.bubbles),
        running=None if run is None else replace(run, calls=calls(run.calls)),
        turns=tuple(replace(turn, error="") for turn in view.turns),
    )


def without_texts(view: ConversationView) -> ConversationView:
    """The same view for somebody who may not read texts: sizes instead of contents."""

    def call(c: CallView) -> CallView:
        return replace(c, arguments=hidden(c.arguments), result=hidden(c.result))

    def bubble(b: Bubble) -> Bubble:
        quote = replace(b.quote, excerpt=hidden(b.quote.excerpt)) if b.quote else None
        return replace(b, text=hidden(b.text), quote=quote, calls=tuple(call(c) for c in b.calls))

    def wait(w: WaitView) -> WaitView:
        return w if w.kind in ("approval", "sleep") else replace(w, subject=hidden(w.subject))

    running = view.running
    if running is not None:
        calls = tuple(call(c) for c in running.calls)
        waits = tuple(wait(w) for w in running.waits)
        running = replace(running, text=hidden(running.text), calls=calls, waits=waits)
    return replace(
        view,
        bubbles=tuple(bubble(b) for b in view.bubbles),
        waiting=tuple(bubble(b) for b in view.waiting),
        running=running,
        children=tuple(replace(child, task=hidden(child.task)) for child in view.children),
    )
