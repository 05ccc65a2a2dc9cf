"""Which language into which, by which models, how well: some forty thousand pairs, all of them or a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import urlencode

import orjson
from aiohttp import web

from backends.types import Json
from proxy.errors import invalid
from proxy.http.queries import refuse_others
from proxy.registry.catalog import TranslationFacts
from proxy.registry.catalog_languages import Atlas

LARGEST_PAGE = 10_000
KNOWN = ("source", "target", "limit", "offset")

Pair: TypeAlias = "tuple[str, str]"


@dataclass(frozen=True, slots=True)
class PairQuery:
    """Which pairs are wanted. source, target: None = any; limit: None = all."""

    source: str | None = None
    target: str | None = None
    limit: int | None = None
    offset: int = 0

    @property
    def end(self) -> int | None:
        """Where the page ends, None = with the last."""
        return None if self.limit is None else self.offset + self.limit


@dataclass(frozen=True, slots=True)
class PairPage:
    """Some of the pairs that fit a query, the best first. total: how many fit."""

    pairs: Sequence[Json]
    total: int


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """The same as JSON."""

    json: bytes
    total: int


def read_query(query: Mapping[str, str]) -> PairQuery:
    """`?source=`, `?target=`, `?limit=` and `?offset=`. Raises INVALID naming the field."""
    refuse_others(query, KNOWN)
    return PairQuery(
        query.get("source"),
        query.get("target"),
        _whole(query, "limit", None, 1, LARGEST_PAGE),
        _whole(query, "offset", 0, 0, 10**6) or 0,
    )


def in_our_codes(query: PairQuery, atlas: Atlas) -> PairQuery:
    """The query by the codes that pairs have: `zh-CN`, `zho_Hans` and `ZH` ask for `zh`. What is no language stays as it is."""

    def known(code: str | None) -> str | None:
        try:
            return None if code is None else atlas.find(code.replace("-", "_").casefold()).code
        except KeyError:
            return code

    return replace(query, source=known(query.source), target=known(query.target))


def page(models: Iterable[TranslationFacts], query: PairQuery, within: TranslationFacts | None = None) -> PairPage:
    """The pairs of all models; within: those of this one alone, whoever else has them too."""
    models = tuple(models)
    best = _best_first((within,) if within else models, query.source, query.target)
    return PairPage(
        [
            {
                "source": source,
                "target": target,
                "quality_score": quality,
                "supported_models": [model.model_id for model in models if model.speaks(source, target)],
            }
            for (source, target), quality in best[query.offset : query.end]
        ],
        len(best),
    )


@lru_cache(maxsize=2)
def written(
    models: tuple[TranslationFacts, ...], query: PairQuery, within: TranslationFacts | None = None
) -> WrittenPage:
    """As page. Kept: all pairs of all models take a quarter of a second, and are 8 MB."""
    found = page(models, query, within)
    return WrittenPage(orjson.dumps(found.pairs), found.total)


def answer(request: web.Request, body: Mapping[str, object], query: PairQuery, total: int) -> web.Response:
    """The body, compressed for whom takes that, with how many pairs there are, and where the next are."""
    response = web.Response(body=orjson.dumps(body), content_type="application/json")
    response.headers.update(_headers(request, query, total))
    response.enable_compression()
    return response


def _headers(request: web.Request, query: PairQuery, total: int) -> dict[str, str]:
    if query.end is None or query.end >= total:
        return {"X-Total-Count": str(total)}
    following = urlencode({**request.query, "limit": query.limit, "offset": query.end})
    return {"X-Total-Count": str(total), "Link": f'<{request.rel_url.raw_path}?{following}>; rel="next"'}


@lru_cache(maxsize=2)
def _best_first(
    models: tuple[TranslationFacts, ...], source: str | None, target: str | None
) -> Sequence[tuple[Pair, int]]:
    """Each pair and the best quality that a model promises. Kept, for those who turn pages."""
    # Of models that have the same languages the best is looked at last.
    alike = {(model.family, model.pair): model for model in sorted(models, key=lambda model: model.quality)}
    best: dict[Pair, int] = {}
    for model in alike.values():
        for pair in _pairs(model, source, target):
            best[pair] = max(model.pair_quality(*pair), best.get(pair, 0))
    return sorted(best.items(), key=lambda item: (-item[1], item[0]))


def _pairs(model: TranslationFacts, source: str | None, target: str | None) -> Iterable[Pair]:
    """What the model speaks of what is asked for; None = any language."""
    codes = tuple(model.family.languages)
    sources, targets = (codes if code is None else (code,) for code in (source, target))
    candidates = ((one, other) for one in sources for other in targets)
    return (pair for pair in candidates if model.speaks(*pair))


def _whole(query: Mapping[str, str], name: str, default: int | None, least: int, most: int) -> int | None:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise invalid(name, f"`{text[:100]}` is no whole number from {least} to {most}")
    return int(text)
