"""Exact match of a chat model, greedy, on prompts that were never trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from backends.nano.train.chat.dialogues import Dialogue, evaluation_set
from backends.nano.train.common import evaluation_options, score_table, slices


def messages(dialogue: Dialogue) -> list[dict[str, str]]:
    """The dialogue up to its last question, as a chat template takes it."""
    said = [{"role": "system", "content": dialogue.system}] if dialogue.system else []
    for prompt, answer in dialogue.turns:
        said += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return said[:-1]


def answers(directory: Path, dialogues: Sequence[Dialogue], rows: int = 32) -> list[str]:
    """The model's greedy answer to the last question of every dialogue, computed in float32."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    # Alike lengths share a batch, so that short answers do not wait for long ones.
    order = sorted(range(len(dialogues)), key=lambda i: len(dialogues[i].turns[-1].answer))
    texts: dict[int, str] = {}
    for batch in slices(order, rows):
        inputs = tokenizer.apply_chat_template(
            [messages(dialogues[i]) for i in batch],
            add_generation_prompt=True,
            padding=True,
            return_dict=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            output = model.generate(**inputs, do_sample=False, max_new_tokens=256)
        answered = output[:, inputs["input_ids"].shape[1] :]
        texts.update(zip(batch, tokenizer.batch_decode(answered, skip_special_tokens=True), strict=True))
    return [texts[i] for i in range(len(dialogues))]


def main(arguments: list[str] | None = None) -> None:
    """Print every miss, then the share of exact answers by group."""
    args = evaluation_options(__doc__, "chat").parse_args(arguments)
    torch.set_num_threads(args.threads)
    asked = evaluation_set()
    results: defaultdict[str, list[bool]] = defaultdict(list)
    for (group, dialogue), got in zip(asked, answers(args.model, [d for _, d in asked]), strict=True):
        prompt, wanted = dialogue.turns[-1]
        results[group].append(got == wanted)
        if got != wanted:
            print(f"miss ({group}): {prompt!r}, wanted {wanted[:90]!r}, got {got[:90]!r}")
    print(score_table(results))


if __name__ == "__main__":
    main()
