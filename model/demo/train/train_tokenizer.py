"""train_tokenizer.py: the demo model's byte-level BPE: python train_tokenizer.py OUT/tokenizer.json

Text is cut as Llama 3 cuts it (tokenizer.ggml.pre "llama-bpe"); while training every digit stands
alone, so numbers are read digit by digit.
"""

import random
import sys

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import corpus
import stories
import sums

VOCAB = 2048
TEXTS = 30000
LLAMA = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
         r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def texts():
    rng = random.Random("tokenizer")
    for _ in range(TEXTS):
        story = stories.tell(rng)
        yield story.text()
        yield "User: " + corpus.story_request(rng, story)
        for _, question, answer in story.questions()[:4]:
            yield f"User: {question}"
            yield f"Assistant: {answer}"
        yield "User: " + sums.ask(rng)[1]
    for wordings, answer in corpus.TALK:
        yield from ["User: " + w for w in wordings] * 20
        yield from ["Assistant: " + answer] * 20


def cut(*more):
    split = pre_tokenizers.Split(Regex(LLAMA), behavior="isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([split, *more, level])


def main():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = cut(pre_tokenizers.Digits(individual_digits=True))
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, min_frequency=5, show_progress=False,
                                  special_tokens=corpus.SPECIALS,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.pre_tokenizer = cut()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{corpus.SPECIALS[0]} $A", special_tokens=[(corpus.SPECIALS[0], corpus.BOS)])
    tokenizer.save(sys.argv[1], pretty=True)
    print(f"{tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
