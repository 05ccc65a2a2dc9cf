"""What a session may ask of computing on this machine; the rest is refused by name, and nothing is taken and ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backends.base import EngineSpec
from backends.translation.languages import CodeTable
from backends.types import Json
from proxy.errors import ApiError, ErrorCode, invalid
from proxy.registry.catalog import SpeechFacts, TranslationFacts
from proxy.sessions.config import said_at
from proxy.sessions.placing import compute_of, device_of

SENTENCES = 32
"""In one call of a translation engine that is not told how many."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is. cuda: whether there is a CUDA device; cores: that this process may use."""

    cuda: bool
    cores: int


def check_compute(path: str, engine: EngineSpec, said: Mapping[str, Json], machine: Machine) -> None:
    """Whether the compute_config that is said at path can be had of the engine, which is one of this process.

    Raises UNSUPPORTED_DEVICE, UNSUPPORTED or INVALID with the path of what is to blame.
    """
    wanted = compute_of(path, said)
    if wanted.device == "cuda" and not machine.cuda:
        raise _no_device(f"{path}.device", "there is no CUDA device here; use `cpu` or `auto`")
    device = device_of(wanted.device or engine.device, cuda=machine.cuda)
    if wanted.compute_type == "float16" and device == "cpu":
        raise _no_device(f"{path}.compute_type", "CPUs do not compute in float16; use `int8` or `float32`")
    if wanted.cpu_threads is not None and device == "cuda":
        raise unsupported(f"{path}.cpu_threads", "is for models on a CPU, and this one runs on CUDA")
    if wanted.cpu_threads is not None and wanted.cpu_threads > machine.cores:
        raise invalid(f"{path}.cpu_threads", f"{wanted.cpu_threads} are more than the {machine.cores} cores there are")
    if said_at(said, f"{path}.gpu_memory_fraction") is not None:
        reason = "cannot be honoured: a model takes the memory that it needs; choose a smaller one, or `int8`"
        raise unsupported(f"{path}.gpu_memory_fraction", reason)
    batch, most = said_at(said, f"{path}.batch_size"), engine.max_batch or SENTENCES
    if isinstance(batch, int) and batch > most:
        raise invalid(f"{path}.batch_size", f"{batch} is more than the {most} that the engine takes at once")


def check_spoken(name: str, facts: SpeechFacts, said: Mapping[str, Json]) -> None:
    """Whether a speech model knows the language that is said, and can do the task. Raises INVALID with its path."""
    language, known = said_at(said, "asr.language"), facts.languages
    if language is not None and known and language not in known:
        few = f"{', '.join(known)} alone" if len(known) <= 3 else f"{len(known)} other languages"
        raise invalid("asr.language", f"`{name}` knows {few}")
    if said_at(said, "asr.task") == "translate" and known == ("en",):
        raise invalid("asr.task", f"`{name}` knows English alone, and has nothing to translate")


def check_pair(name: str, facts: TranslationFacts, said: Mapping[str, Json], codes: CodeTable) -> None:
    """Whether a translation model has the languages that are said, in whatever standard. Raises INVALID with the path."""
    for number, field in enumerate(("source_language", "target_language")):
        code = said_at(said, f"mt.{field}")
        known = (facts.pair[number],) if facts.pair else tuple(facts.family.languages)
        if not isinstance(code, str) or not code or not known:
            continue
        if codes.parse(code).language not in {codes.parse(own).language for own in known}:
            reason = f"`{name}` does not have `{code}` there; GET /api/languages/mt/{name} lists its languages"
            raise invalid(f"mt.{field}", reason)


def unsupported(path: str, reason: str) -> ApiError:
    """The error for what is a session's right to want, and cannot be given. reason: the rest of the sentence."""
    return ApiError(ErrorCode.UNSUPPORTED, f"`{path}` {reason}.", param=path)


def _no_device(path: str, reason: str) -> ApiError:
    return ApiError(ErrorCode.UNSUPPORTED_DEVICE, f"Invalid `{path}`: {reason}.", param=path, status=400)
