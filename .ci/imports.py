"""Import what the CUDA set is for: the libraries, and every backend of ours."""

import os

os.environ["PYANNOTE_METRICS_ENABLED"] = "false"

import ctranslate2
import faster_whisper
import pyannote.audio
import text_generation
import torch
import transformers
import whisperx

from backends import BACKENDS, create
from backends.base import EngineSpec

for kind in BACKENDS:
    create(EngineSpec(name=kind, kind=kind, urls=("http://127.0.0.1:1",)))

modules = (ctranslate2, faster_whisper, pyannote.audio, text_generation, torch, transformers, whisperx)
print("imported:", ", ".join(f"{m.__name__} {getattr(m, '__version__', '')}".strip() for m in modules))
