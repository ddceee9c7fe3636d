"""Endless dialogues from grammars of our own: what the embedded base is pretrained on."""
