"""Input files as clients write them: chat lines of varied text, the same bytes at every run."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

ENDPOINT: Final = "/v1/chat/completions"
MODEL = "benchmark"
SEED = 20261122
SENTENCES = 4_000
_TEXT = (
    "the customer ordered two lamps and only one arrived after a week of waiting please summarise this review in a "
    "sentence classify its sentiment as positive neutral or negative what would you answer return JSON with keys "
    "label score reason naïve café résumé Straße Größe ¿cuándo llegará señor? déjà-vu œuvre 東京 配送が遅れました "
    '返品したいです Спасибо за быструю доставку, всё отлично شكرا جزيلا 👍 😀 🚚 €49.90 50% -3°C don\'t "quoted" '
    "C:\\temp\\report.txt line-one\nline-two\tindented https://example.com/a/b?c=d&e=f <b>bold</b> {nested} [1, 2]"
)
MIXED = _TEXT.split(" ")
PLAIN = [word for word in MIXED if json.dumps(word) == f'"{word}"']
"""Words of ASCII letters and signs that JSON does not escape: the text that is cheapest to parse."""
FILLER = b"and many thanks for your quick help with my order, which "


def custom_id(number: int) -> str:
    """The custom_id of line `number`, from 1."""
    return f"request-{number:06d}"


def write_input(path: Path, *, lines: int, total_bytes: int, spread: float, words: Sequence[str] = MIXED) -> int:
    """Write a valid input of `lines` lines and `total_bytes` bytes; gives the bytes written.

    Lengths vary by ± `spread` (0–1) around the mean.
    """
    dice = random.Random(SEED)
    sentences = _sentences(words, dice)
    written = 0
    with path.open("wb") as file:
        for number in range(1, lines + 1):
            # What chance made longer or shorter so far, the lines to come make up for.
            mean = (total_bytes - written) / (lines - number + 1)
            wanted = mean if number == lines else mean * dice.uniform(1 - spread, 1 + spread)
            written += file.write(_line(number, int(wanted), sentences, dice))
    return written


def _sentences(words: Sequence[str], dice: random.Random) -> list[bytes]:
    """Sentences as JSON writes them inside a string: half in UTF-8, half with `\\u` escapes, json.dumps' default."""
    texts = (" ".join(dice.choices(words, k=dice.randint(6, 24))) for _ in range(SENTENCES))
    return [json.dumps(text, ensure_ascii=dice.random() < 0.5).encode()[1:-1] for text in texts]


def _line(number: int, length: int, sentences: list[bytes], dice: random.Random) -> bytes:
    """One line of `length` bytes: sentences, and where none fits any more, plain text."""
    head, tail = _frame(number)
    room = length - len(head) - len(tail)
    text: list[bytes] = []
    while len(sentence := dice.choice(sentences)) < room:
        text.append(sentence)
        room -= len(sentence) + 1
    text.append((FILLER * (room // len(FILLER) + 1))[:room])
    return head + b" ".join(text) + tail


def _frame(number: int) -> tuple[bytes, bytes]:
    messages = [
        {
            "role": "system",
            "content": "You read reviews of an online shop and answer briefly, in the review's language.",
        },
        {"role": "user", "content": "@@"},
    ]
    body = {"model": MODEL, "messages": messages, "max_completion_tokens": 256, "temperature": 0.2}
    request = {"custom_id": custom_id(number), "method": "POST", "url": ENDPOINT, "body": body}
    head, _, tail = orjson.dumps(request).partition(b"@@")
    return head, tail + b"\n"
