"""What a person sees at start: where the door is, and lines to try."""

from __future__ import annotations

import json
from collections.abc import Iterable

from proxy.registry.models import Registry

SAMPLE = "backends/nano/samples/1_en-us.wav"


def hello(base_url: str, registry: Registry, *, keyed: bool) -> str:
    """The greeting, with a curl line for each task that has a model."""
    lines = ["", f"Switchboard listens on {base_url} and serves {', '.join(m.name for m in registry.models)}. Try:", ""]
    for command in _commands(base_url, registry, keyed):
        lines += [command, ""]
    lines.append("Ctrl-C stops it.")
    return "\n".join(lines)


def _commands(base_url: str, registry: Registry, keyed: bool) -> Iterable[str]:
    key = ' -H "Authorization: Bearer $KEY"' if keyed else ""
    text = next((model.name for model in registry.models if model.task == "text"), None)
    if text is not None:
        body = {
            "model": text,
            "stream": True,
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
        }
        yield _json_post(f"{base_url}/v1/chat/completions", body, f" -N{key}")
    if "transcription" in registry.defaults:
        yield f"curl {base_url}/v1/audio/transcriptions{key} -F file=@{SAMPLE} -F model={registry.defaults['transcription']}"
    if "translation" in registry.defaults:
        body = {
            "task": "translation",
            "model": registry.defaults["translation"],
            "inputs": "The sister drinks the coffee.",
            "params": {"src_lang": "en", "tgt_lang": "fr"},
        }
        yield _json_post(f"{base_url}/infer", body, key)


def _json_post(url: str, body: dict[str, object], options: str) -> str:
    return f"curl{options} {url} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"
