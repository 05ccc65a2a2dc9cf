"""How the shipped models were made: data, tokenizers, training and evaluation, generated from word lists and seeds alone."""
