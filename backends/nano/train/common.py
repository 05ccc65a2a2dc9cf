"""What the three trainings share: the held-out rule, the schedule, the loop, and the way results are written and shown."""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import TypeAdapter

SEED = 20261121
SHIPPED = Path(__file__).parent.parent
IGNORED = -100  # the label that cross_entropy leaves out

Batch = TypeVar("Batch")
Item = TypeVar("Item")
Tables = TypeVar("Tables")


def held_out(text: str, one_in: int) -> bool:
    """Whether `text` is kept out of training: md5 decides, so the split survives every change of the generators."""
    return int(hashlib.md5(text.encode()).hexdigest()[:8], 16) % one_in == 0


def capitalised(text: str) -> str:
    """`text` with its first letter in upper case and the rest as it stands."""
    return text[:1].upper() + text[1:]


def read_tables(path: Path, shape: type[Tables]) -> Tables:
    """The tables of a TOML file as a dataclass; raises pydantic.ValidationError where they do not fit."""
    return TypeAdapter(shape).validate_python(tomllib.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Plan:
    """Length and learning rate of one run: linear warm-up to `peak`, then half a cosine down to 2 % of it.

    With a `cooldown`, the rate stays at its peak instead until it falls in a straight line over so many last steps.
    """

    steps: int
    peak: float
    warmup: int
    weight_decay: float
    cooldown: int = 0

    def rate(self, step: int) -> float:
        """The learning rate of `step`, counted from 1."""
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        left = min(1.0, (self.steps - step) / self.cooldown) if self.cooldown else cosine
        return self.peak * min(1.0, step / self.warmup) * (0.02 + 0.98 * left)


def optimise(
    parameters: Iterable[torch.nn.Parameter],
    batches: Iterator[Batch],
    loss_of: Callable[[Batch], torch.Tensor],
    plan: Plan,
    log_every: int = 100,
    save: Callable[[], None] = lambda: None,
    save_every: int = 500,
) -> list[float]:
    """Run AdamW over `plan.steps` batches with gradients clipped to norm 1; returns the loss of every step.

    `save` is called every `save_every` steps and at the end.
    """
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": plan.weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
    )
    losses: list[float] = []
    started = time.monotonic()
    for step in range(1, plan.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        loss = loss_of(next(batches))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % log_every == 0 or step == plan.steps:
            recent = losses[-log_every:]
            seconds = time.monotonic() - started
            print(f"step {step}/{plan.steps}  loss {sum(recent) / len(recent):.4f}  {seconds:.0f} s", flush=True)
        if step % save_every == 0 or step == plan.steps:
            save()
    return losses


def padded(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    """Rows of ids as one int64 tensor [rows, longest], filled on the right."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])


def training_options(description: str | None, steps: int) -> argparse.ArgumentParser:
    """The command line that every train.py understands; each adds what is its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="directory for the model, made if missing")
    parser.add_argument("--steps", type=int, default=steps, help="optimizer steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and batches (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: %(default)s)")
    return parser


def evaluation_options(description: str | None, model: str) -> argparse.ArgumentParser:
    """The command line that every evaluate.py understands; the shipped `model` unless told otherwise."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, default=SHIPPED / model, help="directory to evaluate (default: shipped)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: %(default)s)")
    return parser


def seed_torch(seed: int, threads: int) -> None:
    """Fix torch's random numbers; the same thread count is needed for the same sums."""
    torch.manual_seed(SEED + seed)
    torch.set_num_threads(threads)


def describe(model: torch.nn.Module) -> str:
    """Parameters and size of a model in words."""
    count = sum(p.numel() for p in model.parameters())
    return f"{count} parameters, {count * 2 / 1e6:.2f} MB in fp16"


def save_model(model: torch.nn.Module, out: Path) -> None:
    """Write config.json, generation_config.json and model.safetensors in fp16; the model in memory stays as it is."""
    copy.deepcopy(model).half().save_pretrained(out)


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON object readable by people."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def slices(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Consecutive runs of at most `size` items."""
    return (items[start : start + size] for start in range(0, len(items), size))


def score_table(results: Mapping[str, Sequence[bool]]) -> str:
    """One line per group with right, all and percent, and a last line for everything."""
    groups = {**results, "all": [right for group in results.values() for right in group]}
    return "\n".join(
        f"{name:28s} {sum(group):5d}/{len(group):<5d} {100 * sum(group) / len(group):6.2f} %"
        for name, group in groups.items()
        if group
    )
