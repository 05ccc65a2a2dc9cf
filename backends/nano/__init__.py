"""Three trained models of a few megabytes (chat, translation, speech), so that a bare installation answers offline."""
