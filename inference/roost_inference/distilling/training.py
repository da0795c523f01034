"""Trains the network of a drafter on texts, for a time."""

import math
import time
from collections.abc import Callable

import numpy as np
import torch

from roost_inference.distilling.network import DraftNetwork
from roost_inference.distilling.texts import TextStore

# Blocks of one text that are learned from at once, and texts of one change of the weights.
PLACES = 48
TEXTS = 4
RATE = 1.5e-3
WARM_UP_STEPS = 20
EVERY_S = 15.0


def train(
    network: DraftNetwork,
    store: TextStore,
    *,
    seconds: float,
    threads: int,
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Learn from the texts, again and again, until the time is over. Returns how many times the
    weights were changed. tell: hears of the loss now and then."""
    torch.set_num_threads(threads)
    random = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    began, told, steps, smooth = clock(), clock(), 0, 0.0
    order = random.permutation(len(store))
    while (spent := clock() - began) < seconds or steps == 0:
        rate = RATE * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(spent / seconds, 1.0))))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (steps + 1) / WARM_UP_STEPS)
        optimizer.zero_grad()
        loss = 0.0
        for number in range(TEXTS):
            at = (steps * TEXTS + number) % len(store)
            if at == 0:
                order = random.permutation(len(store))
            loss += _learn(network, store, int(order[at]), random)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        steps += 1
        smooth = loss if steps == 1 else 0.95 * smooth + 0.05 * loss
        if clock() - told > EVERY_S:
            told = clock()
            tell(f"{told - began:.0f} of {seconds:.0f} s: loss {smooth:.3f} after {steps} steps")
    return steps


def _learn(
    network: DraftNetwork, store: TextStore, number: int, random: np.random.Generator
) -> float:
    """Add the gradient of some blocks of a text; returns their loss."""
    text = store.get(number)
    last = len(text.tokens) - 1 - network.sizes.guesses
    possible = np.arange(min(text.prompt_length, max(last, 1)), last + 1)
    if not len(possible):
        return 0.0
    places = np.sort(random.choice(possible, min(PLACES, len(possible)), replace=False))
    loss = network.loss(
        torch.from_numpy(text.features[: places[-1] + 1].astype(np.float32)),
        torch.from_numpy(text.tokens.astype(np.int64)),
        torch.from_numpy(places),
    )
    (loss / TEXTS).backward()
    return float(loss.detach()) / TEXTS
