"""500 seeded worlds: engines and routers die at six points, and nothing is left or wrong."""

from collections import Counter

from roost_inference.testing.peers.handover import POINTS, VICTIMS, World

SEEDS = 500


def test_no_death_leaves_a_lease_a_wrong_token_or_a_request_without_an_end() -> None:
    outcomes: Counter[str] = Counter()
    handed = 0
    for seed in range(SEEDS):
        world = World(seed)
        try:
            world.run()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        outcomes += world.outcomes
        handed += world.handed_tokens
    # The worlds are worth something: most requests end well, many of them with KV of the other
    # engine, and some end with each of the faults.
    assert outcomes["answer"] > SEEDS
    assert handed > 50 * SEEDS
    assert outcomes["client sees the router's end"] > SEEDS / len(POINTS) / len(VICTIMS)
