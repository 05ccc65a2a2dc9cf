"""What of a caption under way can be relied on: the beginning that two looks at it in a row agreed on."""

from __future__ import annotations

import re

# Chinese and Japanese write no spaces: there a character counts as a word.
_WORD = re.compile(r"\s*(?:[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+)")
_MARKS = re.compile(r"[\W_]+")


class Agreement:
    """Follows one utterance. What was agreed on stays as it is, whatever later looks say; the final text may differ."""

    def __init__(self) -> None:
        self._agreed: list[str] = []
        self._before: list[str] = []

    @property
    def stable(self) -> str:
        """What was agreed on so far."""
        return "".join(self._agreed)

    def look(self, text: str) -> str:
        """The text to show for a new look at the utterance; it begins with what is stable."""
        words = _WORD.findall(text.strip())
        known = len(self._agreed)
        for word, before in zip(words[known:], self._before[known:], strict=False):
            if _bare(word) != _bare(before):
                break
            self._agreed.append(word)
        self._before = words
        return "".join([*self._agreed, *words[len(self._agreed) :]])


def _bare(word: str) -> str:
    """The word without case and marks, which change with what follows; marks alone are themselves."""
    return _MARKS.sub("", word).casefold() or word.strip()
