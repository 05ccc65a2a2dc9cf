"""The chat model: small talk, sums, capitals, lists and memory, as dialogues drawn from templates."""
