"""vLLM's OpenAI-compatible server."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

import orjson

from backends.base import Gauges, ModelSpec
from backends.errors import BackendError, Broken, Rejected, Unsupported
from backends.remote.openai_backend import OPENAI_ROUTES, OpenAIBackend
from backends.remote.prometheus import metrics_text
from backends.types import Chat, Complete, Json, JsonObject, Tokenized
from backends.vllm.gauges import read_gauges
from backends.vllm.pieces import pieces

DISCARDED = 2  # the level of sleep after which nothing is left of the weights

_JSON = (("Content-Type", "application/json"),)
_MAX_SAID = 64 * 1024  # bytes of an answer that says little more than yes
_MAX_TOKENS = 64 * 1024 * 1024  # bytes of an answer; the longest contexts make a few


class VllmBackend(OpenAIBackend):
    """An allowlist, because a key on vLLM guards /v1 only: /invocations, /sleep and others stay open behind it."""

    routes = OPENAI_ROUTES | {
        ("POST", "/v1/rerank"),
        ("POST", "/rerank"),
        ("POST", "/v1/score"),
        ("POST", "/score"),
        ("POST", "/tokenize"),
        ("POST", "/detokenize"),
    }
    lists_all = True

    def completion(self, request: Complete, model: ModelSpec) -> JsonObject:
        """With the ids of the tokens that are told of; where no limit is set the context is the limit, not vLLM's 16 tokens."""
        body = super().completion(replace(request, grammar=None), model)
        if request.grammar is not None:
            kind = "regex" if isinstance(request.grammar, str) else "json"
            body["structured_outputs"] = {kind: request.grammar}
        body.setdefault("max_tokens", None)
        return body | {"return_token_ids": True} if request.sampling.logprobs else body

    async def tokenize(self, model: ModelSpec, request: Chat | Complete) -> Tokenized:
        """Ask vLLM for the tokens, and for a conversation also for their text. Raises Unsupported for a prompt of ids."""
        said: JsonObject = {"model": model.source, "return_token_strs": True}
        if isinstance(request, Chat):
            said |= {"messages": list(request.messages)}
            if request.tools:
                said["tools"] = list(request.tools)
        else:
            said["prompt"] = _text(request)
        answer = await self.ask("/tokenize", said, _MAX_TOKENS)
        ids, spelled, context = answer.get("tokens"), answer.get("token_strs"), answer.get("max_model_len")
        if not isinstance(ids, list) or not isinstance(spelled, list) or len(ids) != len(spelled):
            raise Broken(f"Engine {self._name!r} does not say how it spells its tokens.")
        text = _text(request) if isinstance(request, Complete) else await self._spelled(model, ids)
        found = pieces(
            text, [(token, str(way)) for token, way in zip(ids, spelled, strict=True) if isinstance(token, int)]
        )
        return Tokenized(text, found, context if isinstance(context, int) else None)

    async def gauges(self) -> Gauges:
        """Its requests, its cache and its adapters, of all its ranks together."""
        return read_gauges(await metrics_text(self._client), self._name)

    async def sleep(self, level: int) -> None:
        """Needs VLLM_SERVER_DEV_MODE=1 and --enable-sleep-mode. vLLM on a CPU says yes and stays as it is."""
        await self._tell(f"/sleep?level={level}")

    async def wake(self, level: int) -> None:
        """After level 2 there are no weights to wake up with: they are read from the disk again."""
        if level == DISCARDED:
            await self._tell("/wake_up?tags=weights")
            await self._tell("/collective_rpc", {"method": "reload_weights"})
            await self._tell("/wake_up?tags=kv_cache")
        else:
            await self._tell("/wake_up")

    async def sleeping(self) -> bool:
        """False, too, without VLLM_SERVER_DEV_MODE."""
        try:
            async with self._client.request("GET", "/is_sleeping") as response:
                said = orjson.loads(await response.read(_MAX_SAID))
        except (BackendError, orjson.JSONDecodeError):
            return False
        return isinstance(said, dict) and said.get("is_sleeping") is True

    async def load_adapter(self, model: ModelSpec) -> None:
        """Needs VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora."""
        # In place: vLLM may have it of an earlier proxy, or of before a sleep in which its weights went.
        asked: JsonObject = {"lora_name": model.source, "lora_path": model.adapter, "load_inplace": True}
        await self._tell("/v1/load_lora_adapter", asked)

    async def unload_adapter(self, model: ModelSpec) -> None:
        """Return at once where vLLM does not know it."""
        try:
            await self._tell("/v1/unload_lora_adapter", {"lora_name": model.source})
        except Rejected as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def _tell(self, path: str, body: JsonObject | None = None) -> None:
        """Have vLLM do something that is answered by a status."""
        content = b"" if body is None else orjson.dumps(body)
        async with self._client.request("POST", path, content, _JSON if content else ()) as response:
            await response.read(_MAX_SAID)

    async def _spelled(self, model: ModelSpec, ids: list[Json]) -> str:
        answer = await self.ask("/detokenize", {"model": model.source, "tokens": ids}, _MAX_TOKENS)
        return str(answer.get("prompt", ""))


def _text(request: Complete) -> str:
    prompt = request.prompts[0]
    if not isinstance(prompt, str):
        raise Unsupported("The prompt is tokens already.", param="prompt")
    return prompt
