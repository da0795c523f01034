"""Turns logits into what listeners receive: the next tokens, the text that is certain, the end."""

import logging
from collections.abc import Callable

from roost_inference.backend import Backend, Logits
from roost_inference.errors import EngineError
from roost_inference.kv.cache import KvCache
from roost_inference.mailbox import Mailbox
from roost_inference.output.detokenizer import Piece
from roost_inference.request import Event, FinishEvent, FinishReason, KvOffer, TextEvent
from roost_inference.scheduling.drafts import Speculation
from roost_inference.scheduling.scheduler import Scheduler
from roost_inference.scheduling.step import Row, Step
from roost_inference.sequence import Sequence
from roost_inference.stats import Gauges, StatsRecorder

# How old the gauges may become while the same sequences run.
PUBLISH_S = 0.05

log = logging.getLogger(__name__)


class OutputProcessor:
    """The last part of a step. Whatever ends a sequence, ends it here. Used by the engine
    thread."""

    def __init__(
        self,
        backend: Backend,
        scheduler: Scheduler,
        cache: KvCache,
        mailbox: Mailbox,
        stats: StatsRecorder,
        speculation: Speculation,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._vocabulary = backend.vocabulary
        self._scheduler = scheduler
        self._cache = cache
        self._mailbox = mailbox
        self._stats = stats
        self._speculation = speculation
        self._clock = clock
        self._publish_at, self._published = 0.0, (0, 0)

    def process(self, step: Step) -> None:
        """Sample the next tokens of a computed step and emit them."""
        for row in step.rows:
            if row.output is None and row.sequence.request.kv.hands_over:
                self._cache.paging.export(row.sequence)
        now, generated = self._clock(), 0
        gaps_s: list[float] = []
        for row in step.rows:
            if row.first_output is not None:
                self._read_prompt(row, row.first_output)
            if row.output is None:
                continue
            sequence = row.sequence
            if sequence.last_token_s is not None:
                gaps_s.append(now - sequence.last_token_s)
            generated += self._advance_row(row, row.output, now)
        self._stats.step(now, generated, gaps_s)

    def finish(
        self, sequence: Sequence, reason: FinishReason, error: EngineError | None = None
    ) -> None:
        """Free the sequence, then send its listener the withheld text and the end."""
        offer = self._offer(sequence) if reason in ("stop", "length") else None
        self._scheduler.remove(sequence)
        self._mailbox.forget(sequence.id)
        now = self._clock()
        self._stats.finished(sequence, reason, now)
        speculation = self._speculation.end(sequence, finished=reason in ("stop", "length"))
        self.publish()
        self._emit_text(sequence, sequence.text.finish())
        last = sequence.tokens.last
        is_silent = sequence.generated > 0 and last in sequence.silent_tokens
        end = FinishEvent(
            sequence.id,
            reason,
            sequence.usage(),
            sequence.timings(now),
            error,
            sequence.text.stop_string,
            stop_token=last if reason == "stop" and last in sequence.request.stop_tokens else None,
            end_token=last if is_silent else None,
            kv=sequence.kv_report,
            speculation=speculation,
            prompt_logprobs=sequence.prompt_logprobs,
            offer=offer,
        )
        self._emit(sequence, end)

    def _offer(self, sequence: Sequence) -> KvOffer | str | None:
        """Its prompt's KV for another engine, while the sequence still has it."""
        return self._cache.paging.offer(sequence) if sequence.request.kv.hands_over else None

    def publish_if_due(self, now: float) -> None:
        """Publish the gauges if a sequence came or went, else every PUBLISH_S: nobody looks at
        cells as often as tokens come."""
        running, waiting = len(self._scheduler.running), len(self._scheduler.waiting)
        if now >= self._publish_at or (running, waiting) != self._published:
            self._publish_at, self._published = now + PUBLISH_S, (running, waiting)
            self.publish()

    def publish(self) -> None:
        """Publish the gauges to other threads."""
        sessions = {
            resident.session
            for resident in self._cache.residents
            if resident.session.session_id is not None
        }
        scheduler = self._scheduler
        self._stats.publish(
            Gauges(
                running=len(scheduler.running),
                waiting=scheduler.waiting.counts(),
                tenants=scheduler.waiting.tenants,
                cells_used=self._cache.ledger.used,
                resident_sessions=len(sessions),
                preemptions_total=scheduler.preemptions_total,
            )
        )

    def _read_prompt(self, row: Row, first: int) -> None:
        """Note the logprobs of a prompt's tokens; the rows from `first` on have logits."""
        found = row.sequence.prompt_logprobs
        assert found is not None
        start = row.sequence.computed - row.count
        for at in range(row.count):
            found.take(start + at, self._backend.logits(first + at))

    def _advance_row(self, row: Row, output: int, now: float) -> int:
        """Give the row's sequence its next token, and further ones as long as each equals its
        draft: then the logits of the next one are those of the text. Returns how many tokens."""
        sequence, draft = row.sequence, row.draft
        drafted = () if draft is None else draft.tokens
        before, accepted = len(sequence.tokens), 0
        reason: FinishReason | None = None
        failed: EngineError | None = None
        try:
            for at in range(len(drafted) + 1):
                logits = self._backend.logits(output if at == 0 else row.draft_row + at - 1)
                reason = self._advance(sequence, logits, now)
                is_drafted = at < len(drafted) and int(sequence.tokens.view[-1]) == drafted[at]
                accepted += is_drafted
                if reason is not None or not is_drafted:
                    break
        except EngineError as error:
            reason, failed = "error", error
        count = len(sequence.tokens) - before
        if draft is not None:
            # The newest token stays to be computed, as without a draft.
            self._scheduler.accept(row, max(count - 1, 0))
            self._speculation.verified(sequence, draft, accepted)
        if reason is not None:
            self.finish(sequence, reason, failed)
        return count

    def _advance(self, sequence: Sequence, logits: Logits, now: float) -> FinishReason | None:
        """Give the sequence its next token, and its listener the text that is certain by it.
        Returns why the sequence ends, None if it goes on."""
        sampler, text = sequence.sampler, sequence.text
        token = sampler.sample(logits)
        logprob = sampler.logprob(logits, token, self._vocabulary.token_bytes)
        sequence.tokens.append(token)
        sampler.accept(token)
        if sequence.first_token_s is None:
            sequence.first_token_s = now
            self._stats.first_token(sequence, now)
        sequence.last_token_s = now
        if token not in sequence.silent_tokens:
            self._emit_text(sequence, text.push(token, logprob))
        if sampler.is_over(token) or text.stop_string is not None:
            return "stop"
        return "length" if sequence.tokens_left <= 0 else None

    def _emit_text(self, sequence: Sequence, piece: Piece | None) -> None:
        if piece is not None:
            event = TextEvent(sequence.id, piece.text, piece.tokens, piece.logprobs)
            self._emit(sequence, event)

    def _emit(self, sequence: Sequence, event: Event) -> None:
        """Call the listener; one that raises has its request aborted."""
        try:
            sequence.emit(event)
        except Exception:
            log.exception("the listener of request %s failed", sequence.id)
            self._mailbox.abort(sequence.id)
