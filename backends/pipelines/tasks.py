"""Every task that is served: what its inputs and params may be, and what has to be installed. No model code is imported here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

from pydantic import ValidationError

from backends.errors import Invalid, Unsupported
from backends.pipelines import inputs as read
from backends.pipelines import params as p
from backends.pipelines import shapes
from backends.pipelines.inputs import Read
from backends.types import Infer


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task. takes: how its inputs are read; needs: importable names beyond what models of this process need anyway.

    always: params that are passed whatever is said.
    """

    name: str
    takes: Read
    params: type[p.Params]
    needs: tuple[str, ...] = ()
    always: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was checked. inputs: media in it are still to be opened; params: keyword arguments."""

    task: Task
    inputs: object
    params: Mapping[str, object]


PILLOW = ("PIL",)
PACKAGES = {"PIL": "pillow", "av": "av", "pandas": "pandas", "torchvision": "torchvision"}

# In JSON they are the same; as lists they would take ten times the memory on their way there.
_TENSORS: Mapping[str, object] = {"return_tensors": True}
_TEXTS = read.one_or_many(read.text)
_CHAT = shapes.chat()
_IMAGES = read.one_or_many(read.image)
_SOUNDS = read.one_or_many(read.audio)
_PROMPTS = read.either(
    (shapes.is_chats, read.many(_CHAT)),
    (shapes.is_chat, _CHAT),
    (lambda value: isinstance(value, str | list), _TEXTS),
    words="a string, a conversation, or a list of either",
)
_PAIRS = read.one_or_many(
    read.either(
        (read.is_text, read.text),
        (read.is_object, read.fields({"text": read.text}, {"text_pair": read.text})),
        words='a string or {"text": ..., "text_pair": ...}',
    )
)
_TALK = read.many(read.fields({"role": read.text, "content": read.said}))
_CONVERSATIONS = read.either(
    (shapes.is_chats, read.many(_TALK)),
    (shapes.is_chat, _TALK),
    (read.is_object, shapes.past),
    (lambda value: isinstance(value, list) and all(map(read.is_object, value)), read.many(shapes.past)),
    (lambda value: isinstance(value, str | list), read.one_or_many(shapes.message)),
    words="a list of messages, what a user says as a string, or a list of either",
)
_QUESTIONS = read.one_or_many(read.fields({"question": read.text, "context": read.text}))
_TABLES = read.one_or_many(read.fields({"table": shapes.table, "query": read.one_or_many(read.text)}))
_DOCUMENTS = read.one_or_many(
    read.fields({"image": read.image, "question": read.text}, {"word_boxes": shapes.word_boxes})
)
_SEARCHED = read.one_or_many(
    read.either(
        (read.is_object, read.fields({"image": read.image, "candidate_labels": read.many(read.text)})),
        (lambda value: True, read.image),
        words='an image, or {"image": ..., "candidate_labels": [...]}',
    )
)
_IMAGE_PAIRS = read.either(
    (
        lambda value: isinstance(value, list) and all(isinstance(pair, list) for pair in value),
        read.many(read.many(read.image, 2, 2)),
    ),
    (lambda value: isinstance(value, list), read.many(read.image, 2, 2)),
    words="two images, or a list of such pairs",
)
_SEEN_CHAT = shapes.chat({"image": read.image})
_SEEN = read.either(
    (shapes.is_chats, read.many(_SEEN_CHAT)),
    (shapes.is_chat, _SEEN_CHAT),
    (read.is_object, read.fields({"images": _IMAGES, "text": _TEXTS})),
    (read.is_text, read.text),
    words='a conversation, {"images": ..., "text": ...}, or a string',
)
_SENSED_CHAT = shapes.chat({"image": read.image, "audio": read.audio})
_SENSED = read.either(
    (shapes.is_chats, read.many(_SENSED_CHAT)),
    (shapes.is_chat, _SENSED_CHAT),
    (read.is_object, read.fields({"text": _TEXTS}, {"images": _IMAGES, "audio": _SOUNDS})),
    (read.is_text, read.text),
    words='a conversation, {"text": ..., "images": ..., "audio": ...}, or a string',
)
_DECISIONS = read.one_or_many(read.fields({"state": read.plain, "questions": read.plain}))


def _table(*tasks: Task) -> dict[str, Task]:
    return {task.name: task for task in tasks}


TASKS: Mapping[str, Task] = _table(
    Task(name="text-classification", takes=_PAIRS, params=p.TextClassification),
    Task(name="token-classification", takes=_TEXTS, params=p.TokenClassification),
    Task(name="fill-mask", takes=_TEXTS, params=p.FillMask),
    Task(name="feature-extraction", takes=_TEXTS, params=p.FeatureExtraction, always=_TENSORS),
    Task(name="zero-shot-classification", takes=_TEXTS, params=p.ZeroShotText),
    Task(name="question-answering", takes=_QUESTIONS, params=p.QuestionAnswering),
    Task(name="table-question-answering", takes=_TABLES, params=p.TableQuestionAnswering, needs=("pandas",)),
    Task(name="text-generation", takes=_PROMPTS, params=p.TextGeneration),
    Task(name="text2text-generation", takes=_TEXTS, params=p.Text2Text),
    Task(name="summarization", takes=_TEXTS, params=p.Text2Text),
    Task(name="translation", takes=_TEXTS, params=p.Translation),
    Task(name="conversational", takes=_CONVERSATIONS, params=p.Conversational),
    Task(name="decision", takes=_DECISIONS, params=p.Nothing),
    Task(name="automatic-speech-recognition", takes=_SOUNDS, params=p.SpeechRecognition),
    Task(name="audio-classification", takes=_SOUNDS, params=p.AudioClassification),
    Task(name="zero-shot-audio-classification", takes=_SOUNDS, params=p.ZeroShotMedia),
    Task(name="text-to-audio", takes=_PROMPTS, params=p.TextToAudio),
    Task(name="image-classification", takes=_IMAGES, params=p.ImageClassification, needs=PILLOW),
    Task(
        name="image-feature-extraction", takes=_IMAGES, params=p.ImageFeatureExtraction, needs=PILLOW, always=_TENSORS
    ),
    Task(name="image-segmentation", takes=_IMAGES, params=p.ImageSegmentation, needs=PILLOW),
    Task(name="object-detection", takes=_IMAGES, params=p.Detection, needs=PILLOW),
    Task(name="depth-estimation", takes=_IMAGES, params=p.Images, needs=PILLOW),
    Task(name="mask-generation", takes=_IMAGES, params=p.MaskGeneration, needs=(*PILLOW, "torchvision")),
    Task(name="keypoint-matching", takes=_IMAGE_PAIRS, params=p.Detection, needs=PILLOW),
    Task(name="zero-shot-image-classification", takes=_IMAGES, params=p.ZeroShotMedia, needs=PILLOW),
    Task(name="zero-shot-object-detection", takes=_SEARCHED, params=p.ZeroShotDetection, needs=PILLOW),
    Task(name="document-question-answering", takes=_DOCUMENTS, params=p.DocumentQuestionAnswering, needs=PILLOW),
    Task(name="image-text-to-text", takes=_SEEN, params=p.ImageTextToText, needs=PILLOW),
    Task(name="any-to-any", takes=_SENSED, params=p.AnyToAny, needs=(*PILLOW, "torchvision")),
    Task(name="video-classification", takes=read.one_or_many(read.video), params=p.VideoClassification, needs=PILLOW),
)

ALIASES: Mapping[str, str] = {
    "sentiment-analysis": "text-classification",
    "ner": "token-classification",
    "text-to-speech": "text-to-audio",
    "image-to-text": "image-text-to-text",
}

# What transformers no longer has and nothing here replaces under its own name.
GONE: Mapping[str, str] = {
    "visual-question-answering": "use `image-text-to-text` with a model that sees and chats",
    "vqa": "use `image-text-to-text` with a model that sees and chats",
    "image-to-image": "making images is no task of transformers' pipelines",
}

# Arguments of transformers.pipeline() and its kin that are whoever runs the server's to choose.
KEPT = frozenset(
    [
        "assistant_model",
        "assistant_tokenizer",
        "binary_output",
        "cache_dir",
        "code_revision",
        "config",
        "custom_generate",
        "decoder",
        "device",
        "device_map",
        "dtype",
        "feature_extractor",
        "framework",
        "generation_config",
        "image_processor",
        "local_files_only",
        "logits_processor",
        "model",
        "model_kwargs",
        "num_workers",
        "pipeline_class",
        "processor",
        "revision",
        "stopping_criteria",
        "streamer",
        "task",
        "timeout",
        "token",
        "tokenizer",
        "torch_dtype",
        "trust_remote_code",
        "use_auth_token",
        "use_fast",
        "video_processor",
        "vocoder",
    ]
)

_PAIR = re.compile(r"translation_(?P<source>.+)_to_(?P<target>.+)")


def find(name: str) -> Task:
    """The task of this name or alias; `translation_xx_to_yy` is `translation`. Raises Unsupported with those that are near."""
    if name in GONE:
        raise Unsupported(f"The task `{name}` was removed from transformers; {GONE[name]}.", param="task")
    task = TASKS.get(ALIASES.get(name, "translation" if _PAIR.fullmatch(name) else name))
    if task is not None:
        return task
    known = [*TASKS, *ALIASES]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) if len(name) <= 100 else []
    hint = f"Did you mean {' or '.join(f'`{each}`' for each in near)}? " if near else ""
    raise Unsupported(
        f"There is no task `{name[:100]}`. {hint}Served are: {', '.join(sorted(known))}, translation_xx_to_yy.",
        param="task",
    )


def languages(name: str) -> tuple[str, str] | None:
    """Source and target of `translation_xx_to_yy`."""
    pair = _PAIR.fullmatch(name)
    return (pair["source"], pair["target"]) if pair else None


def missing(task: Task) -> tuple[str, ...]:
    """The packages, by the names under which they are installed, that the task needs and this machine lacks."""
    return tuple(PACKAGES[name] for name in task.needs if find_spec(name) is None)


def check(request: Infer) -> Asked:
    """The request, read and checked without opening its media or touching its model; quick, whatever was sent.

    Raises Unsupported (task unknown, or not possible here), Invalid (inputs, params), naming the field.
    """
    task = find(request.task)
    if lacking := missing(task):
        raise Unsupported(
            f"The task `{task.name}` needs {' and '.join(lacking)}, which this server does not have; whoever runs it can "
            f"install what is missing (pip install {' '.join(lacking)}).",
            param="task",
        )
    for name, sent in (("inputs", request.inputs), ("params", request.params)):
        read.check_depth(sent, name)
    params = {**_params(task, request.params), **task.always}
    inputs = task.takes(read.merged(request.inputs, request.files), "inputs")
    read.check_size(inputs)
    pair = languages(request.task)
    if pair and not params.keys() & {"src_lang", "tgt_lang"}:
        params = {**params, "src_lang": pair[0], "tgt_lang": pair[1]}
    return Asked(task, inputs, params)


def _params(task: Task, sent: Mapping[str, object]) -> dict[str, object]:
    known = task.params.model_fields
    for name in sent:
        if name in KEPT and name not in known:
            raise Unsupported(
                f"`params.{name}` is for whoever runs the server to choose; leave it out.", param=f"params.{name}"
            )
        if name not in known:
            listed = ", ".join(known) or "none"
            raise Unsupported(
                f"`params.{name[:100]}` is not supported for `{task.name}`; leave it out. Known: {listed}.",
                param=f"params.{name[:100]}",
            )
    try:
        return task.params.model_validate(sent).given()
    except ValidationError as error:
        raise _refused(error) from error


def _refused(error: ValidationError) -> Invalid:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    at = ".".join(["params", *(str(step) for step in first["loc"])])[:200]
    what = first["msg"].removeprefix("Value error, ")
    reason = {"missing": "is missing", "extra_forbidden": "is not supported; leave it out"}.get(first["type"])
    return Invalid(f"`{at}` {reason}." if reason else f"Invalid `{at}`: {what}.", param=at)
