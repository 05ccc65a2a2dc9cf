"""The translation model: one small grammar that says every sentence in English, Spanish, French and German."""
