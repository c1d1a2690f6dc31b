"""Small tokenizers of both kinds that GGUF files know, made on the spot: reading a real vocabulary
takes seconds.
"""

import itertools

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

TEXT = [
    "The capital of France is Paris, and that of Peru is Lima. 12 + 30 = 42",
    "def f(x): return x + 1  # twice",
] * 4
_SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level(*, split: str = "", begins: bool = False) -> PreTrainedTokenizerFast:
    """Byte pair encoding of bytes, as GPT-2, Llama 3 and Qwen have it.

    Args:
        split: the expression that words are parted by; "" for GPT-2's.
        begins: whether the token of the beginning is put before a text.
    """
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if split:
        bare = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(split), "isolated"), bare]
        )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=list(_SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(TEXT, trainer)
    if begins:
        made.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, chat_template="{{ messages[0]['content'] }}", **_SPECIAL
    )


def pieces(*, scheme: str = "always", stripped: str = "") -> PreTrainedTokenizerFast:
    """Byte pair encoding of letters with bytes to fall back on, as Llama 2, Mistral and Phi-3 have
    it.

    Args:
        scheme: where a space is put before a text: always, first (of the whole text alone) or
            never.
        stripped: a token that takes the spaces behind it.
    """
    words = sorted(
        {word for text in TEXT for word in text.replace(" ", " ▁").split(" ")},
        key=lambda word: (-len(word), word),
    )
    letters = sorted({letter for word in words for letter in word})
    whole = dict.fromkeys(word[:end] for word in words[:20] for end in range(2, len(word) + 1))
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *whole, *letters]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    pairs = [
        (token[:at], token[at:])
        for token, at in itertools.chain.from_iterable(
            ((token, at) for at in range(1, len(token))) for token in whole
        )
        if token[:at] in vocab and token[at:] in vocab
    ]
    made = Tokenizer(models.BPE(vocab, pairs, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement="▁", prepend_scheme=scheme, split=False
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    made.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, **_SPECIAL)
    if stripped:
        fast.add_tokens([AddedToken(stripped, rstrip=True, special=True)], special_tokens=True)
    return fast
