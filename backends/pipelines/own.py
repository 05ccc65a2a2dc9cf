"""Pipelines of our own: for the tasks that the contracts have and transformers 5 has not, and where its own opens files."""

from __future__ import annotations

from transformers import AutoModelForCausalLM, AutoModelForQuestionAnswering, AutoModelForSeq2SeqLM
from transformers.models.auto.auto_factory import _BaseAutoModelClass
from transformers.pipelines import Pipeline

from backends.pipelines.conversational import Conversational
from backends.pipelines.question_answering import QuestionAnswering
from backends.pipelines.sequence_to_sequence import Summarization, Text2Text, Translation
from backends.pipelines.video import VideoClassification

_SEQ2SEQ = (AutoModelForSeq2SeqLM,)

# Task -> its pipeline, and the networks that it takes.
PIPELINES: dict[str, tuple[type[Pipeline], tuple[type[_BaseAutoModelClass], ...]]] = {
    "text2text-generation": (Text2Text, _SEQ2SEQ),
    "summarization": (Summarization, _SEQ2SEQ),
    "translation": (Translation, _SEQ2SEQ),
    "question-answering": (QuestionAnswering, (AutoModelForQuestionAnswering,)),
    "conversational": (Conversational, (AutoModelForCausalLM, AutoModelForSeq2SeqLM)),
}
# Task -> what runs in the place of transformers' own pipeline.
IN_PLACE_OF: dict[str, type[Pipeline]] = {"video-classification": VideoClassification}
