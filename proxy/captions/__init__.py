"""Live captions: audio as it is spoken, cut into utterances, transcribed while they last and once they end."""
