"""Tiny random models that see or hear, one for each kind of task."""

from __future__ import annotations

import json
from pathlib import Path

import transformers

from tests.backends.pipelines.tiny import LABELS, SHAPE, Make, save, tokenizer

VISION = {**SHAPE, "image_size": 32, "patch_size": 8, "num_channels": 3}


def vit(directory: Path) -> None:
    save(transformers.ViTForImageClassification(transformers.ViTConfig(**VISION, **LABELS)), directory)
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
        save(getattr(transformers, f"Wav2Vec2For{head}")(config), directory)
        transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(directory)
        vocabulary = directory / "letters.json"
        vocabulary.write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
        transformers.Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(directory)

    return make


def clip(directory: Path) -> None:
    size = tokenizer(directory, "input_ids", "attention_mask")
    text = transformers.CLIPTextConfig(vocab_size=size, **SHAPE, max_position_embeddings=64, eos_token_id=3)
    config = transformers.CLIPConfig(text_config=text.to_dict(), vision_config=VISION, projection_dim=16)
    save(transformers.CLIPModel(config), directory)
    transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(directory)


def owlvit(directory: Path) -> None:
    size = tokenizer(directory, "input_ids", "attention_mask")
    text = transformers.OwlViTTextConfig(
        vocab_size=size, **SHAPE, max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=3
    )
    config = transformers.OwlViTConfig(text_config=text.to_dict(), vision_config=VISION, projection_dim=32)
    save(transformers.OwlViTForObjectDetection(config), directory)
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
    save(transformers.SegformerForSemanticSegmentation(config), directory)
    transformers.SegformerImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(directory)


def yolos(directory: Path) -> None:
    config = transformers.YolosConfig(**{**VISION, "image_size": [32, 32]}, num_detection_tokens=5, **LABELS)
    save(transformers.YolosForObjectDetection(config), directory)
    transformers.YolosImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 64}).save_pretrained(directory)


def glpn(directory: Path) -> None:
    config = transformers.GLPNConfig(
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        depths=[1, 1, 1, 1],
        sr_ratios=[2, 2, 1, 1],
        decoder_hidden_size=8,
    )
    save(transformers.GLPNForDepthEstimation(config), directory)
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
    save(transformers.VitsModel(config), directory)


def videomae(directory: Path) -> None:
    config = transformers.VideoMAEConfig(**VISION, num_frames=4, tubelet_size=2, **LABELS)
    save(transformers.VideoMAEForVideoClassification(config), directory)
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
    save(transformers.SuperGlueForKeypointMatching(config), directory)
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
    save(
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
    save(transformers.LlavaForConditionalGeneration(config), directory)
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
