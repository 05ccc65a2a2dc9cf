"""Which language into which, by which models, how well: more than forty thousand pairs, asked for a page at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import urlencode

from aiohttp import web

from backends.types import Json
from proxy.contracts.models.queries import refuse_others
from proxy.errors import invalid
from proxy.registry.catalog import TranslationFacts

PAGE = 1000
LARGEST_PAGE = 10_000
KNOWN = ("source", "target", "limit", "offset")

Pair: TypeAlias = "tuple[str, str]"


@dataclass(frozen=True, slots=True)
class PairQuery:
    """Which pairs are wanted. source, target: None = any."""

    source: str | None = None
    target: str | None = None
    limit: int = PAGE
    offset: int = 0


@dataclass(frozen=True, slots=True)
class PairPage:
    """Some of the pairs that fit a query, the best first. total: how many fit."""

    pairs: Sequence[Json]
    total: int


def read_query(query: Mapping[str, str]) -> PairQuery:
    """`?source=`, `?target=`, `?limit=` and `?offset=`. Raises INVALID naming the field."""
    refuse_others(query, KNOWN)
    return PairQuery(
        query.get("source"),
        query.get("target"),
        _whole(query, "limit", PAGE, 1, LARGEST_PAGE),
        _whole(query, "offset", 0, 0, 10**6),
    )


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
            for (source, target), quality in best[query.offset : query.offset + query.limit]
        ],
        len(best),
    )


def headers(request: web.Request, query: PairQuery, found: PairPage) -> dict[str, str]:
    """How many pairs there are, and where the next are."""
    end = query.offset + query.limit
    if end >= found.total:
        return {"X-Total-Count": str(found.total)}
    following = urlencode({**request.query, "limit": query.limit, "offset": end})
    return {"X-Total-Count": str(found.total), "Link": f'<{request.rel_url.raw_path}?{following}>; rel="next"'}


@lru_cache(maxsize=4)
def _best_first(
    models: tuple[TranslationFacts, ...], source: str | None, target: str | None
) -> Sequence[tuple[Pair, int]]:
    """Each pair and the best quality that a model promises. Kept: all pairs of all models take a quarter of a second."""
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


def _whole(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise invalid(name, f"`{text[:100]}` is no whole number from {least} to {most}")
    return int(text)
