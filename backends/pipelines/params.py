"""What `params` may say, task by task, under the names that transformers gives it; all else is refused by name.

Only what belongs to one call is here. What belongs to whoever runs the server is not: devices, data types, tokens, remote
code, other models, paths.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

LONGEST = 1 << 17  # tokens
TOKEN_IDS = 1 << 24

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1000)]
Signed = Annotated[float, Field(ge=-1000, le=1000)]
Few = Annotated[int, Field(ge=1, le=16)]
Many = Annotated[int, Field(ge=1, le=1000)]
Tokens = Annotated[int, Field(ge=0, le=LONGEST)]
SomeTokens = Annotated[int, Field(ge=1, le=LONGEST)]
Token = Annotated[int, Field(ge=0, lt=TOKEN_IDS)]
Word = Annotated[str, Field(max_length=1000)]
Words = Annotated[list[Word], Field(min_length=1, max_length=1000)]
Objects: TypeAlias = Annotated[list[dict[str, object]], Field(max_length=128)]


def _template(text: str) -> str:
    """Templates are filled in with Python's str.format, which does more than that for those who know it."""
    if text.count("{}") != 1 or text.count("{") != 1 or text.count("}") != 1:
        raise ValueError("write {} once, where the label goes, and no other braces")
    return text


Template = Annotated[Word, AfterValidator(_template)]
Truncation: TypeAlias = bool | Literal["longest_first", "only_first", "only_second", "do_not_truncate"]
Padding: TypeAlias = bool | Literal["longest", "max_length", "do_not_pad"]
Activation: TypeAlias = Literal["sigmoid", "softmax", "none"]


class Params(BaseModel):
    """Checked when made; what was not said is not there."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def given(self) -> dict[str, object]:
        """The keyword arguments that were said."""
        return self.model_dump(exclude_unset=True)


class Batched(Params):
    """batch_size: inputs that go through the model together."""

    batch_size: Annotated[int, Field(ge=1, le=64)] = 1


class Tokenizing(Params):
    """How a text becomes tokens."""

    truncation: Truncation = False
    padding: Padding = False
    max_length: Annotated[int, Field(ge=1, le=8192)] = 512
    add_special_tokens: bool = True


class Generation(Params):
    """How tokens are chosen: the options of one `generate()` that need no object of Python's."""

    max_new_tokens: SomeTokens = 256
    max_length: SomeTokens = 256
    min_new_tokens: Tokens = 0
    min_length: Tokens = 0
    max_time: Annotated[float, Field(gt=0, le=3600)] = 3600
    do_sample: bool = False
    num_beams: Few = 1
    num_return_sequences: Few = 1
    early_stopping: bool | Literal["never"] = False
    temperature: Annotated[float, Field(ge=0.01, le=100)] = 1
    top_k: Annotated[int, Field(ge=0, le=1000)] = 50
    top_p: Annotated[float, Field(gt=0, le=1)] = 1
    min_p: Share = 0
    typical_p: Annotated[float, Field(gt=0, le=1)] = 1
    epsilon_cutoff: Annotated[float, Field(ge=0, lt=1)] = 0
    eta_cutoff: Annotated[float, Field(ge=0, lt=1)] = 0
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] = 1
    encoder_repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] = 1
    length_penalty: Annotated[float, Field(ge=-100, le=100)] = 1
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=100)] = 0
    encoder_no_repeat_ngram_size: Annotated[int, Field(ge=0, le=100)] = 0
    guidance_scale: Annotated[float, Field(ge=1, le=100)] = 1
    bad_words_ids: Annotated[
        list[Annotated[list[Token], Field(min_length=1, max_length=64)]], Field(max_length=256)
    ] = []
    suppress_tokens: Annotated[list[Token], Field(max_length=1000)] = []
    begin_suppress_tokens: Annotated[list[Token], Field(max_length=1000)] = []
    forced_bos_token_id: Token = 0
    forced_eos_token_id: Token = 0
    eos_token_id: Token | Annotated[list[Token], Field(min_length=1, max_length=64)] = 0
    pad_token_id: Token = 0
    decoder_start_token_id: Token = 0
    renormalize_logits: bool = False
    remove_invalid_values: bool = False
    use_cache: bool = True

    def given(self) -> dict[str, object]:
        """The keyword arguments that were said; a length of the whole takes the place of a pipeline's default for what is new."""
        said = super().given()
        return {"max_new_tokens": None, **said} if "max_length" in said else said

    @model_validator(mode="after")
    def _possible(self) -> Generation:
        said = self.model_fields_set
        for least, most in (("min_length", "max_length"), ("min_new_tokens", "max_new_tokens")):
            if said >= {least, most} and getattr(self, least) > getattr(self, most):
                raise ValueError(f"{least} is more than {most}")
        if self.num_return_sequences > self.num_beams and not self.do_sample:
            raise ValueError("num_return_sequences needs do_sample, or as many num_beams")
        return self


class Whispering(Generation):
    """`generate()` of a speech model. temperature may be a list, tried in turn."""

    temperature: Annotated[float, Field(ge=0, le=100)] | Annotated[list[Share], Field(min_length=1, max_length=16)] = 0  # type: ignore[assignment]
    language: Word = ""
    task: Literal["transcribe", "translate"] = "transcribe"
    condition_on_prev_tokens: bool = False
    compression_ratio_threshold: Positive = 1
    logprob_threshold: Signed = 0
    no_speech_threshold: Share = 0


# --------------------------------------------------------------------------- text


class TextClassification(Batched, Tokenizing):
    """top_k: None = every label."""

    top_k: Many | None = 1
    function_to_apply: Activation = "none"


class TokenClassification(Batched):
    """ignore_labels: left out of the answer; stride: tokens that windows of a long text share."""

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] = "none"
    ignore_labels: Annotated[list[Word], Field(max_length=1000)] = []
    stride: Annotated[int, Field(ge=0, le=8192)] = 0


class FillMask(Batched):
    """targets: words to choose from."""

    top_k: Many = 5
    targets: Word | Words = ""
    tokenizer_kwargs: Tokenizing = Tokenizing()


class FeatureExtraction(Batched):
    """return_tensors: changes nothing in JSON."""

    truncation: Truncation = False
    tokenize_kwargs: Tokenizing = Tokenizing()
    return_tensors: bool = False


class ZeroShot(Batched):
    """candidate_labels: one string of several parts them by commas, in zero-shot-classification."""

    candidate_labels: Word | Words
    hypothesis_template: Template = ""


class ZeroShotText(ZeroShot):
    """multi_label: each label by itself."""

    multi_label: bool = False


class ZeroShotMedia(Batched):
    """candidate_labels: what may be seen or heard."""

    candidate_labels: Words
    hypothesis_template: Template = ""


class Answering(Params):
    """max_seq_len, doc_stride, max_question_len: tokens; max_answer_len: tokens of an answer."""

    top_k: Many = 1
    max_answer_len: Many = 15
    max_seq_len: Annotated[int, Field(ge=16, le=8192)] = 384
    max_question_len: Annotated[int, Field(ge=1, le=8192)] = 64
    doc_stride: Annotated[int, Field(ge=1, le=8192)] = 128
    handle_impossible_answer: bool = False


class QuestionAnswering(Batched, Answering):
    """align_to_words: answers begin and end with whole words."""

    align_to_words: bool = True


class TableQuestionAnswering(Params):
    """sequential: one query after the other, each told the last one's answer."""

    sequential: bool = False
    padding: Padding = False
    truncation: bool | Literal["drop_rows_to_fit", "do_not_truncate"] = False


class TextGeneration(Generation, Batched):
    """prefix: put before each prompt; stop_sequence: texts at which to stop; tools, documents: for a chat's template."""

    return_full_text: bool = True
    return_text: bool = True
    return_tensors: bool = False
    clean_up_tokenization_spaces: bool = False
    skip_special_tokens: bool = True
    add_special_tokens: bool = False
    padding: Padding = False
    truncation: Truncation = False
    prefix: Annotated[str, Field(max_length=100_000)] = ""
    handle_long_generation: Literal["hole"] = "hole"
    stop_sequence: Word | Annotated[list[Word], Field(min_length=1, max_length=16)] = ""
    continue_final_message: bool = False
    tools: Objects = []
    documents: Objects = []


class Text2Text(Generation, Batched):
    """What a sequence-to-sequence model is told. generate_kwargs: more of the same, as one object."""

    truncation: Truncation = False
    clean_up_tokenization_spaces: bool = False
    return_text: bool = True
    return_tensors: bool = False
    generate_kwargs: Generation = Generation()


class Translation(Text2Text):
    """src_lang, tgt_lang: codes as the model knows them."""

    src_lang: Word = ""
    tgt_lang: Word = ""


class Conversational(Generation):
    """min_length_for_response: as the pipeline of transformers 4 called min_new_tokens."""

    min_length_for_response: Tokens = 0
    clean_up_tokenization_spaces: bool = False


# --------------------------------------------------------------------------- speech and sound


class SpeechRecognition(Whispering, Batched):
    """chunk_length_s, stride_length_s: windows of long audio, and how they overlap, in seconds."""

    return_timestamps: bool | Literal["char", "word"] = False
    return_language: bool = False
    chunk_length_s: Annotated[float, Field(ge=1, le=3600)] = 30
    stride_length_s: (
        Annotated[float, Field(ge=0, le=600)]
        | Annotated[list[Annotated[float, Field(ge=0, le=600)]], Field(min_length=2, max_length=2)]
    ) = 0
    generate_kwargs: Whispering = Whispering()


class AudioClassification(Batched):
    """top_k: None = every label."""

    top_k: Many | None = 5
    function_to_apply: Activation = "none"


class TextToAudio(Params):
    """generate_kwargs: for models that generate."""

    generate_kwargs: Generation = Generation()


# --------------------------------------------------------------------------- images and video


class Images(Batched):
    """Nothing of its own."""


class ImageClassification(Batched):
    """top_k: how many labels."""

    top_k: Many = 5
    function_to_apply: Activation = "none"


class ImageFeatureExtraction(Batched):
    """pool: the pooled output; return_tensors: changes nothing in JSON."""

    pool: bool = False
    return_tensors: bool = False


class ImageSegmentation(Batched):
    """threshold, mask_threshold, overlap_mask_area_threshold: what is sure and large enough to be named."""

    subtask: Literal["instance", "panoptic", "semantic"] = "panoptic"
    threshold: Share = 0.5
    mask_threshold: Share = 0.5
    overlap_mask_area_threshold: Share = 0.5


class Detection(Batched):
    """threshold: what is sure enough."""

    threshold: Share = 0.5


class ZeroShotDetection(Batched):
    """candidate_labels: for inputs that are images alone."""

    candidate_labels: Word | Words = ""
    threshold: Share = 0.1
    top_k: Many = 5


class MaskGeneration(Params):
    """A grid of points, and which of the masks found from them stay."""

    points_per_batch: Annotated[int, Field(ge=1, le=1024)] = 64
    points_per_crop: Annotated[int, Field(ge=1, le=64)] = 32
    crops_n_layers: Annotated[int, Field(ge=0, le=3)] = 0
    crop_overlap_ratio: Share = 0.3
    crop_n_points_downscale_factor: Few = 1
    pred_iou_thresh: Share = 0.88
    stability_score_thresh: Share = 0.95
    stability_score_offset: Annotated[int, Field(ge=0, le=100)] = 1
    mask_threshold: Signed = 0
    crops_nms_thresh: Share = 0.7
    output_rle_mask: bool = False
    output_bboxes_mask: bool = False


class DocumentQuestionAnswering(Answering):
    """As in question-answering, over the words of a page."""

    padding: Padding = False


class ImageTextToText(Params):
    """max_new_tokens: also in generate_kwargs, but not in both."""

    max_new_tokens: SomeTokens = 256
    generate_kwargs: Generation = Generation()
    return_full_text: bool = True
    return_tensors: bool = False
    stop_sequence: Word | Annotated[list[Word], Field(min_length=1, max_length=16)] = ""
    skip_special_tokens: bool = True
    clean_up_tokenization_spaces: bool = False
    continue_final_message: bool = False


class AnyToAny(ImageTextToText):
    """generation_mode: what is made."""

    generation_mode: Literal["text", "image", "audio"] = "text"


class VideoClassification(Batched):
    """num_frames: how many are looked at; frame_sampling_rate: every how many."""

    num_frames: Annotated[int, Field(ge=1, le=128)] = 16
    frame_sampling_rate: Annotated[int, Field(ge=1, le=64)] = 1
    top_k: Many = 5
    function_to_apply: Activation = "none"


class Nothing(Params):
    """A task that takes no params."""
