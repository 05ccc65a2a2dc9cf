"""Hugging Face tasks, whichever engine serves them: what more than one contract asks for."""
