"""`roost drafter`: what a drafter is worth on this machine, and one made for a model."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roost_platform.cli.look import AsJson
from roost_platform.cli.options import Data, refuse, settings_in_use
from roost_platform.cli.tables import show

if TYPE_CHECKING:
    from roost_inference.distilling.measurement import DraftMeasurement

drafter = typer.Typer(
    no_args_is_help=True,
    help="Small networks that guess what a model writes next, by its hidden states.",
)
TOKENS_DEFAULT, MINUTES_DEFAULT = 100_000, 60.0
Model = Annotated[
    Path | None,
    typer.Option(help="The model; by default the one that the settings name.", show_default=False),
]


@drafter.command()
def measure(
    draft: Annotated[Path, typer.Argument(metavar="DRAFT", help="The drafter's GGUF file.")],
    model: Model = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Measure how often a drafter is right, what it costs, and the speed that follows.

    The model answers prompts that no drafter was made from, alone and greedily. Stop the stack
    first: its engine takes the processor that is measured. It takes a minute with a small model.
    """
    from roost_inference.errors import EngineError

    path = _existing(draft, "drafter")
    try:
        from roost_inference.distilling.measurement import measure_draft, open_target

        target = open_target(_model(data, model))
        try:
            measurement = measure_draft(target, path)
        finally:
            target.close()
    except EngineError as error:
        refuse(error.message)
    _print(measurement, as_json=as_json)


@drafter.command()
def distill(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The model's GGUF file.")],
    out: Annotated[Path, typer.Option(help="Where the drafter is written if it is worth it.")],
    tokens: Annotated[
        int, typer.Option(help="Tokens of the texts that it learns from, at most.")
    ] = TOKENS_DEFAULT,
    minutes: Annotated[
        float, typer.Option(help="For texts and training; the measurement comes on top.")
    ] = MINUTES_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a drafter for a model, and keep it if it makes answers 1.1 times as fast here.

    The model writes texts, and a network of one layer learns from its hidden states what comes
    next. It needs PyTorch (pip install 'roost[distill]') and disk beside FILE: 3.5 KB a token of a
    small model. Exit 3: the drafter was not worth it.
    """
    from roost_inference.errors import EngineError

    path = _existing(model, "model")
    try:
        from roost_inference.distilling.distillation import SPEED_MIN, distil

        made = distil(
            path,
            out.expanduser(),
            tokens=tokens,
            minutes=minutes,
            tell=lambda line: print(line, file=sys.stderr),
        )
    except EngineError as error:
        refuse(error.message)
    except OSError as error:
        refuse(f"{out} can't be written: {error}")
    _print(made.measurement, as_json=as_json)
    best = made.measurement.best
    if made.is_kept:
        print(f"{out} is kept: ROOST_ENGINE__DRAFT_MODEL={out} uses it", file=sys.stderr)
        return
    print(
        f"{out} is not kept: at best answers are {best.speed:.2f} times as fast as without it, "
        f"{SPEED_MIN} is asked. {_reason(made.measurement)}",
        file=sys.stderr,
    )
    sys.exit(3)


def _reason(measurement: "DraftMeasurement") -> str:
    """What would have to be otherwise."""
    best = measurement.best
    needed = 1.1 / best.speed * best.tokens_per_step
    if needed > best.depth + 1:
        return (
            "Even if every guess were right it would not be: the block and the verification cost "
            "too much here."
        )
    return (
        f"A step gave {best.tokens_per_step:.2f} tokens and would have to give {needed:.2f}. More "
        "tokens and minutes make it better."
    )


def _print(measurement: "DraftMeasurement", *, as_json: bool) -> None:
    if as_json:
        shown = {**asdict(measurement), "acceptance": measurement.acceptance}
        print(json.dumps({**shown, "speed": measurement.best.speed}, indent=2))
        return
    rows = [
        (
            str(one.depth),
            f"{share:.0%}",
            f"{one.survival:.0%}",
            f"{one.tokens_per_step:.2f}",
            f"{one.block_in_steps:.2f}",
            f"{one.speed:.2f}",
        )
        for one, share in zip(measurement.depths, measurement.acceptance, strict=True)
    ]
    head = ("guesses", "right at this place", "all right", "tokens a step", "block in steps")
    show("", (*head, "speed"), rows)


def _existing(path: Path, what: str) -> Path:
    path = path.expanduser()
    if not path.is_file():
        refuse(f"the {what} {path} does not exist or is not a file")
    return path


def _model(data: Path | None, named: Path | None) -> Path:
    """The model to measure with: the one named, that of the settings, or the bundled one."""
    from roost_inference.llama import builds

    if named is not None:
        return _existing(named, "model")
    settings = settings_in_use(data)
    if settings.engine.model is not None:
        return _existing(settings.engine.model, "model")
    builds.want(settings.engine.kernels)
    from roost_inference.llama.machine import physical_cores
    from roost_inference.llama.quantize import bundled_model, requantised

    return requantised(bundled_model(), settings.data_dir / "models", physical_cores())
