"""Classes go in order with a floor, tenants take turns by tokens, and what is cached is free."""

import pytest

from roost_inference.engine import Engine
from roost_inference.errors import QueueFull
from roost_inference.http.metrics import EngineMetrics
from roost_inference.request import FinishEvent, ServiceClass
from roost_inference.scheduling.fairness import (
    DEBT_TOKENS_MAX,
    FLOOR,
    TENANTS_MAX,
    ClassAccounts,
    Floors,
)
from roost_inference.testing.harness import Collector, drive, request, toy_engine, toy_store
from roost_inference.testing.toy import END, ToyBackend, continuation

CONTINUATION, BACKGROUND = int(ServiceClass.CONTINUATION), int(ServiceClass.BACKGROUND)


def ask(engine: Engine, ends: list[str], name: str, count: int = 3, **fields: object) -> Collector:
    """A request that notes its end."""
    heard = Collector()

    def listen(event: object) -> None:
        heard(event)  # type: ignore[arg-type]
        if isinstance(event, FinishEvent):
            ends.append(name)

    prompt = fields.pop("prompt", f"{name} asks ")
    wanted = request(prompt, count, ignore_eos=True, **fields)  # type: ignore[arg-type]
    engine.submit(wanted, listen)
    return heard


@pytest.mark.parametrize(
    ("priority", "service"), [(-7, "INTERACTIVE"), (0, "INTERACTIVE"), (1, "CONTINUATION"),
                              (2, "BACKGROUND"), (99, "BACKGROUND")],
)  # fmt: skip
def test_the_priority_on_the_wire_names_the_class(priority: int, service: str) -> None:
    assert request("p", priority=priority).service.name == service


def test_the_tenant_is_the_salt_s_unless_it_is_named() -> None:
    assert request("p", cache_salt="salt").fairness_key == "salt"
    assert request("p", cache_salt="salt", tenant="acme").fairness_key == "acme"


def test_a_tenant_s_name_shares_nothing_and_separates_nothing() -> None:
    """Names are for fair shares. Only the salt decides what is shared."""
    cached = {}
    for salt, tenant in (("one", "acme"), ("two", "acme"), ("one", "other")):
        engine, heard = toy_engine(), Collector()
        engine.submit(request("s" * 100, 2, cache_salt="one", tenant="acme"), Collector())
        drive(engine)
        engine.submit(request("s" * 100, 2, cache_salt=salt, tenant=tenant), heard)
        drive(engine)
        cached[salt, tenant] = heard.finish.usage.cached_tokens
        accounts = engine._scheduler.waiting.accounts(ServiceClass.INTERACTIVE)
        assert {account.fairness_key for account in accounts} == {"acme", tenant}
    assert cached == {("one", "acme"): 99, ("two", "acme"): 0, ("one", "other"): 99}


def test_classes_are_admitted_in_order() -> None:
    engine, ends = toy_engine(max_running=1), list[str]()
    for name, priority in (("batch", BACKGROUND), ("tool", CONTINUATION), ("person", 0)):
        ask(engine, ends, name, priority=priority)
    drive(engine)
    assert ends == ["person", "tool", "batch"]


def test_a_tenant_s_flood_delays_another_tenant_by_one_request() -> None:
    engine, ends = toy_engine(max_running=1), list[str]()
    for number in range(12):
        ask(engine, ends, f"flood {number}", cache_salt="flood")
    engine.step()
    ask(engine, ends, "quiet", cache_salt="quiet")
    drive(engine)
    assert ends.index("quiet") <= 1


def test_a_long_prompt_of_one_tenant_does_not_hold_up_a_short_one_of_another() -> None:
    engine, ends = toy_engine(ToyBackend(cells=8192), batch_tokens=64), list[str]()
    ask(engine, ends, "long", prompt="l" * 5000, cache_salt="a")
    for _ in range(20):
        engine.step()
    ask(engine, ends, "short", prompt="s" * 100, cache_salt="b")
    drive(engine)
    assert ends == ["short", "long"]


def test_what_comes_from_the_kv_is_not_charged() -> None:
    backend = ToyBackend(cells=4096)
    engine, ends = toy_engine(backend, max_running=1), list[str]()
    story = "s" * 1000
    ask(engine, ends, "first", prompt=story, cache_salt="a", session_id="a")
    ask(engine, ends, "other", prompt="o" * 1000, cache_salt="b")
    drive(engine)
    for number in range(3):
        ask(engine, ends, f"again {number}", prompt=story, cache_salt="a", session_id="a")
        ask(engine, ends, f"new {number}", prompt=f"{number}" * 300, cache_salt="b")
    drive(engine)
    # three cached turns cost less than one prompt of 300 tokens
    assert [end for end in ends if end.startswith(("again", "new"))][-2:] == ["new 1", "new 2"]


def test_a_cancelled_request_gives_back_what_was_reserved() -> None:
    engine, ends = toy_engine(max_running=1), list[str]()
    for number in range(3):
        ask(engine, ends, f"gone {number}", 250, id=f"gone {number}", cache_salt="a")
        engine.step()
        engine.abort(f"gone {number}")
        engine.step()
        engine.check()
    (account,) = engine._scheduler.waiting.accounts(ServiceClass.INTERACTIVE)
    assert account.reserved == 0 and 0 < account.served < 60


def test_a_person_takes_the_place_of_background_work_which_goes_on_where_it_was() -> None:
    backend = ToyBackend(cells=2048, sequences=8)
    engine, ends = toy_engine(backend, max_running=2, store=toy_store(blocks=200)), list[str]()
    batch = [
        ask(engine, ends, f"batch {n}", 100, prompt=f"batch {n} " * 30, priority=BACKGROUND)
        for n in range(2)
    ]
    for _ in range(60):
        engine.step()
    before = sum(backend.decoded)
    ask(engine, ends, "person", 5)
    for _ in range(6):
        engine.step()
    assert ends == ["person"] and engine.preemptions_total == 1
    drive(engine)
    for number, heard in enumerate(batch):
        prompt = list((f"batch {number} " * 30).encode())
        expected = continuation(prompt, 100)
        assert heard.finish.usage.completion_tokens == 100
        assert END in expected or heard.tokens == expected
    needed = sum(len(f"batch {n} " * 30) + 99 for n in range(2)) + len("person asks ") + 4
    assert before < sum(backend.decoded) <= needed + 16
    assert engine.stats().preemptions_total == 1


def test_without_a_place_below_the_device_nobody_is_preempted_for_a_class() -> None:
    engine, ends = toy_engine(max_running=1), list[str]()
    ask(engine, ends, "batch", 20, priority=BACKGROUND)
    engine.step()
    ask(engine, ends, "person")
    drive(engine)
    assert ends == ["batch", "person"] and engine.preemptions_total == 0


def test_background_work_gets_its_floor_while_people_keep_asking() -> None:
    backend = ToyBackend(cells=2048, sequences=8)
    engine, ends = toy_engine(backend, max_running=2, store=toy_store(blocks=200)), list[str]()
    background = [
        ask(engine, ends, "batch", 10, prompt=f"batch {n} " * 4, priority=BACKGROUND)
        for n in range(8)
    ]
    served = 0
    while not all(heard.is_finished for heard in background):
        while engine._scheduler.waiting.counts()[0] < 2:
            ask(engine, [], f"person {served}", 10, prompt=f"{served:04} asks " * 4)
            served += 1
            engine.step()
        engine.step()
        engine.check()
        assert served < 400, "background work starves"
    share = 8 / (8 + served)
    assert 0.5 * FLOOR < share < 2 * FLOOR + 0.05


def test_a_full_queue_of_background_work_does_not_refuse_a_person() -> None:
    engine, ends = toy_engine(queue_limit=4), list[str]()
    for number in range(4):
        ask(engine, ends, "batch", priority=BACKGROUND, cache_salt=f"t{number}")
    with pytest.raises(QueueFull, match="4 background requests are waiting") as refused:
        ask(engine, ends, "batch", priority=BACKGROUND, cache_salt="t5")
    assert refused.value.retry_after_s >= 1.0
    ask(engine, ends, "person")
    drive(engine)
    assert ends[0] == "person" and engine.stats().refused_by_class == {"background": 1}


def test_a_tenant_can_t_take_every_place_of_the_queue() -> None:
    engine, ends = toy_engine(queue_limit=8), list[str]()
    for _ in range(6):
        ask(engine, ends, "flood", cache_salt="flood")
    with pytest.raises(QueueFull, match="6 interactive requests of this tenant"):
        ask(engine, ends, "flood", cache_salt="flood")
    ask(engine, ends, "quiet", cache_salt="quiet")
    assert engine.stats().refused_by_class == {"interactive": 1}


def test_the_number_of_tenants_remembered_is_bounded() -> None:
    accounts = ClassAccounts()
    for number in range(3 * TENANTS_MAX):
        accounts.leave(accounts.enter(f"tenant {number}"))
    assert len(accounts) == TENANTS_MAX


def test_who_comes_back_has_saved_nothing_and_owes_a_bounded_amount() -> None:
    accounts = ClassAccounts()
    busy, idle = accounts.enter("busy"), accounts.enter("idle")
    accounts.leave(idle)
    busy.served = 1_000_000.0
    assert accounts.enter("idle").served == busy.served
    accounts.leave(busy)
    busy.served += 1_000_000.0  # while it alone writes, nobody is held up
    back = accounts.enter("busy")
    assert back.served <= 1_000_000.0 + DEBT_TOKENS_MAX


def test_a_class_earns_only_while_it_waits() -> None:
    floors = Floors()
    floors.take(ServiceClass.INTERACTIVE, 10_000, [ServiceClass.INTERACTIVE])
    assert not floors.is_due(ServiceClass.BACKGROUND)
    floors.take(ServiceClass.INTERACTIVE, 10_000, list(ServiceClass))
    assert floors.is_due(ServiceClass.BACKGROUND) and floors.is_due(ServiceClass.CONTINUATION)
    floors.take(ServiceClass.BACKGROUND, 10_000, list(ServiceClass))
    assert not floors.is_due(ServiceClass.BACKGROUND)


def test_the_metrics_tell_the_queue_by_class_and_name_no_tenant() -> None:
    engine, ends = toy_engine(queue_limit=1, max_running=1), list[str]()
    ask(engine, ends, "person", 40, cache_salt="acme")
    engine.step()
    ask(engine, ends, "batch", cache_salt="acme", priority=BACKGROUND)
    with pytest.raises(QueueFull):
        ask(engine, ends, "batch", cache_salt="acme", priority=BACKGROUND)
    engine.step()
    text = EngineMetrics(engine).text().decode()
    for line in (
        'roost_engine_waiting{class="background",model_name="toy"} 1.0',
        'roost_engine_waiting{class="interactive",model_name="toy"} 0.0',
        'roost_engine_refused_total{class="background",model_name="toy"} 1.0',
        'vllm:num_preemptions_total{model_name="toy"} 0.0',
        'roost_engine_tenants{model_name="toy"} 2.0',
    ):
        assert line in text
    assert "acme" not in text
