"""The built-in synthetic corpus: sentences generated from a grammar of our own; needs no download."""

from rocore.data.builtin.generator import RELATIONS, generate

__all__ = ["RELATIONS", "generate"]
