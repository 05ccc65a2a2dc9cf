"""Tiny random models, one for each kind of task, and files to ask them about."""

from __future__ import annotations

import base64
import io
import json
import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import backends

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NANO = Path(backends.__file__).parent / "nano"
TEXT = "Emma bought the yellow box at the hotel . Who bought it ?"
WORDS = (
    "the a of to and is in it you that he was for on are with as his they at be this from have or one had by not but"
)
CORPUS = [
    TEXT.lower(),
    WORDS,
    "summarize : positive negative neutral entailment question context labels",
    "abcdefghijklmnopqrstuvwxyz0123456789",
]
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
BERT = {**SHAPE, "max_position_embeddings": 64, "type_vocab_size": 2}
SEQ2SEQ = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "init_std": 0.5,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 0,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 3,
}
VISION = {**SHAPE, "image_size": 32, "patch_size": 8, "num_channels": 3}
LABELS = {"id2label": {0: "no", 1: "yes", 2: "entailment"}, "label2id": {"no": 0, "yes": 1, "entailment": 2}}
Make = Callable[[Path], None]


def tokenizer(directory: Path, *inputs: str) -> int:
    """WordPiece, cased down, as BERT has it; returns how many tokens."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(
        CORPUS * 2, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="[CLS]",
        eos_token="[SEP]",
        model_max_length=64,
        **names,
        model_input_names=list(inputs or ("input_ids", "token_type_ids", "attention_mask")),
    )
    wrapped.save_pretrained(directory)
    return len(wrapped)


def bert(head: str) -> Make:
    def make(directory: Path) -> None:
        labels = {} if head == "ForQuestionAnswering" else LABELS
        config = transformers.BertConfig(vocab_size=tokenizer(directory), **BERT, **labels)
        _save(getattr(transformers, f"Bert{head}")(config), directory)

    return make


def roberta(directory: Path) -> None:
    config = transformers.RobertaConfig(vocab_size=tokenizer(directory), **BERT, **LABELS, pad_token_id=0)
    _save(transformers.RobertaForSequenceClassification(config), directory)


def bart(directory: Path) -> None:
    config = transformers.BartConfig(
        vocab_size=tokenizer(directory),
        **SEQ2SEQ,
        task_specific_params={"summarization": {"max_length": 12, "num_beams": 2}},
    )
    _save(transformers.BartForConditionalGeneration(config), directory)


def t5(directory: Path) -> None:
    told = {
        "translation_en_to_fr": {"prefix": "the a ", "max_length": 9},
        "summarization": {"prefix": "summarize : ", "max_length": 11},
    }
    config = transformers.T5Config(
        vocab_size=tokenizer(directory),
        d_model=32,
        d_ff=64,
        d_kv=16,
        num_layers=1,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=3,
        decoder_start_token_id=0,
        task_specific_params=told,
    )
    _save(transformers.T5ForConditionalGeneration(config), directory)


def gpt2(directory: Path) -> None:
    config = transformers.GPT2Config(
        vocab_size=tokenizer(directory),
        n_layer=2,
        n_head=2,
        n_embd=32,
        n_positions=64,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    _save(transformers.GPT2LMHeadModel(config), directory)


def tapas(directory: Path) -> None:
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "[EMPTY]",
        "who",
        "is",
        "the",
        "age",
        "of",
        "brad",
        "pitt",
        "56",
        "61",
        "actors",
        "how",
        "old",
        "a",
    ]
    (directory / "vocab.txt").write_text("\n".join(words))
    transformers.TapasTokenizer(str(directory / "vocab.txt")).save_pretrained(directory)
    config = transformers.TapasConfig(vocab_size=len(words), **{**SHAPE, "max_position_embeddings": 512})
    _save(transformers.TapasForQuestionAnswering(config), directory)


def vit(directory: Path) -> None:
    _save(transformers.ViTForImageClassification(transformers.ViTConfig(**VISION, **LABELS)), directory)
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(directory)


def wav2vec2(head: str) -> Make:
    def make(directory: Path) -> None:
        letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz"]
        config = transformers.Wav2Vec2Config(
            **SHAPE,
            **LABELS,
            vocab_size=len(letters),
            conv_dim=(32, 32),
            conv_stride=(5, 4),
            conv_kernel=(10, 8),
            num_feat_extract_layers=2,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=2,
            feat_extract_norm="layer",
            do_stable_layer_norm=True,
            pad_token_id=0,
            classifier_proj_size=32,
        )
        _save(getattr(transformers, f"Wav2Vec2For{head}")(config), directory)
        transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(directory)
        vocabulary = directory / "letters.json"
        vocabulary.write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
        transformers.Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(directory)

    return make


def distilbert(directory: Path) -> None:
    config = transformers.DistilBertConfig(
        vocab_size=tokenizer(directory),
        dim=32,
        n_layers=1,
        n_heads=2,
        hidden_dim=64,
        max_position_embeddings=64,
        id2label={0: "NEGATIVE", 1: "POSITIVE"},
        label2id={"NEGATIVE": 0, "POSITIVE": 1},
    )
    _save(transformers.DistilBertForSequenceClassification(config), directory)


def clip(directory: Path) -> None:
    size = tokenizer(directory, "input_ids", "attention_mask")
    text = transformers.CLIPTextConfig(vocab_size=size, **SHAPE, max_position_embeddings=64, eos_token_id=3)
    config = transformers.CLIPConfig(text_config=text.to_dict(), vision_config=VISION, projection_dim=16)
    _save(transformers.CLIPModel(config), directory)
    transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(directory)


def owlvit(directory: Path) -> None:
    size = tokenizer(directory, "input_ids", "attention_mask")
    text = transformers.OwlViTTextConfig(
        vocab_size=size, **SHAPE, max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=3
    )
    config = transformers.OwlViTConfig(text_config=text.to_dict(), vision_config=VISION, projection_dim=32)
    _save(transformers.OwlViTForObjectDetection(config), directory)
    transformers.OwlViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(directory)


def segformer(directory: Path) -> None:
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16],
        num_attention_heads=[1, 2],
        depths=[1, 1],
        num_encoder_blocks=2,
        sr_ratios=[2, 1],
        patch_sizes=[3, 3],
        strides=[2, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        **LABELS,
    )
    _save(transformers.SegformerForSemanticSegmentation(config), directory)
    transformers.SegformerImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(directory)


def yolos(directory: Path) -> None:
    config = transformers.YolosConfig(**{**VISION, "image_size": [32, 32]}, num_detection_tokens=5, **LABELS)
    _save(transformers.YolosForObjectDetection(config), directory)
    transformers.YolosImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 64}).save_pretrained(directory)


def glpn(directory: Path) -> None:
    config = transformers.GLPNConfig(
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        depths=[1, 1, 1, 1],
        sr_ratios=[2, 2, 1, 1],
        decoder_hidden_size=8,
    )
    _save(transformers.GLPNForDepthEstimation(config), directory)
    transformers.GLPNImageProcessorPil().save_pretrained(directory)


def vits(directory: Path) -> None:
    letters = directory / "vocab.json"
    letters.write_text(json.dumps({letter: number for number, letter in enumerate("_abcdefghijklmnopqrstuvwxyz '")}))
    transformers.VitsTokenizer(str(letters), pad_token="_", phonemize=False, is_uroman=False).save_pretrained(directory)
    config = transformers.VitsConfig(
        vocab_size=29,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=32,
        flow_size=32,
        spectrogram_bins=9,
        duration_predictor_filter_channels=32,
        prior_encoder_num_flows=1,
        posterior_encoder_num_wavenet_layers=1,
        upsample_initial_channel=16,
        upsample_rates=[4, 4],
        upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]],
        prior_encoder_num_wavenet_layers=1,
    )
    _save(transformers.VitsModel(config), directory)


def layoutlm(directory: Path) -> None:
    config = transformers.LayoutLMConfig(vocab_size=tokenizer(directory), **BERT, max_2d_position_embeddings=1024)
    _save(transformers.LayoutLMForQuestionAnswering(config), directory)


def videomae(directory: Path) -> None:
    config = transformers.VideoMAEConfig(**VISION, num_frames=4, tubelet_size=2, **LABELS)
    _save(transformers.VideoMAEForVideoClassification(config), directory)
    transformers.VideoMAEImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(directory)


def superglue(directory: Path) -> None:
    detector = {
        "encoder_hidden_sizes": [8, 8, 8, 16],
        "decoder_hidden_size": 16,
        "keypoint_decoder_dim": 65,
        "descriptor_decoder_dim": 16,
    }
    config = transformers.SuperGlueConfig(
        keypoint_detector_config={"model_type": "superpoint", **detector},
        hidden_size=16,
        keypoint_encoder_sizes=[8, 16],
        gnn_layers_types=["self", "cross"],
        num_attention_heads=2,
    )
    _save(transformers.SuperGlueForKeypointMatching(config), directory)
    transformers.SuperGlueImageProcessorPil(size={"height": 32, "width": 40}).save_pretrained(directory)


def clap(directory: Path) -> None:
    size = tokenizer(directory, "input_ids", "attention_mask")
    text = transformers.ClapTextConfig(
        vocab_size=size, **SHAPE, max_position_embeddings=66, pad_token_id=0, projection_dim=16
    )
    audio = transformers.ClapAudioConfig(
        spec_size=64,
        num_mel_bins=16,
        patch_size=4,
        patch_stride=[4, 4],
        patch_embeds_hidden_size=16,
        hidden_size=64,
        projection_dim=16,
        depths=[1, 1, 1],
        num_attention_heads=[1, 2, 2],
        window_size=4,
        patch_embed_input_channels=1,
        num_hidden_layers=2,
        enable_fusion=False,
    )
    _save(
        transformers.ClapModel(
            transformers.ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=16)
        ),
        directory,
    )
    transformers.ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=48000,
        max_length_s=1,
        hop_length=480,
        fft_window_size=512,
        truncation="rand_trunc",
        padding="repeatpad",
    ).save_pretrained(directory)


TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} : {% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for p in m['content'] %}"
    "{% if p['type'] == 'image' %}<image> {% else %}{{ p['text'] }} {% endif %}{% endfor %}{% endif %}{% endfor %}"
)


def llava(directory: Path) -> None:
    tokenizer(directory, "input_ids", "attention_mask")
    words = transformers.AutoTokenizer.from_pretrained(directory)
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    image = words.convert_tokens_to_ids("<image>")
    text = transformers.LlamaConfig(
        vocab_size=len(words),
        **SHAPE,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    vision = transformers.CLIPVisionConfig(**VISION)
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=image, vision_feature_layer=-1
    )
    _save(transformers.LlavaForConditionalGeneration(config), directory)
    size = {"height": 32, "width": 32}
    eyes = transformers.CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False)
    transformers.LlavaProcessor(
        eyes,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(directory)


def _save(network: transformers.PreTrainedModel, directory: Path) -> None:
    network.eval().save_pretrained(directory)


def made(directory: Path, make: Make) -> Path:
    """The directory, with the model in it."""
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    make(directory)
    return directory


def cached(home: Path, **models: Make | Path) -> Path:
    """HF_HOME with these models in its cache, as the hub's client leaves them. `__` in a name stands for `/`, `_` for `-`."""
    for name, make in models.items():
        folder = home / "hub" / f"models--{name.replace('__', '--').replace('_', '-')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(COMMIT)
        snapshot = folder / "snapshots" / COMMIT
        if isinstance(make, Path):
            shutil.copytree(make, snapshot)
        else:
            made(snapshot, make)
    return home


# --------------------------------------------------------------------------- files


def png(width: int = 40, height: int = 24, *, kind: str = "PNG", mode: str = "RGB") -> bytes:
    """A picture of squares."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([(x * 6) % 256, (y * 10) % 256, ((x // 8 + y // 8) % 2) * 255], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


def sound(seconds: float = 0.5, rate: int = 16_000) -> bytes:
    """A tone, as WAV."""
    samples = (np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * 440 / rate) * 8000).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes(samples.tobytes())
    return file.getvalue()


def b64(data: bytes) -> str:
    """As clients send files in JSON."""
    return base64.b64encode(data).decode()


def mp4(frames: int = 12, width: int = 48, height: int = 32) -> bytes:
    """A video that gets brighter."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10, width=width, height=height, pix_fmt="yuv420p")
        for number in range(frames):
            pixels = np.full((height, width, 3), number * 15 % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()
