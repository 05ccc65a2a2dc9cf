"""The dialects that the door speaks. A new one is a folder and a line here."""

from __future__ import annotations

from proxy.contract import Contract
from proxy.contracts import chat, hf_server, models, openai, ops, registry, tgi

CONTRACTS: tuple[Contract, ...] = (
    openai.CONTRACT,
    hf_server.CONTRACT,
    chat.CONTRACT,
    models.CONTRACT,
    registry.CONTRACT,
    tgi.CONTRACT,
    ops.CONTRACT,
)
