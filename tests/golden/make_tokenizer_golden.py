#!/usr/bin/env python3
"""Writes tokenizer_awkward.jsonl: texts that tokenizers trip over and the ids that Hugging Face's library gives them.

    python3 make_tokenizer_golden.py /path/to/qwen2.5/tokenizer.json > tokenizer_awkward.jsonl

Needs the package `tokenizers`; without the path it writes the texts alone, for another binding of that library (the
committed file: the npm package, which make_tokenizer_golden.js uses too). Texts are the same on every machine (own
generator, no unicodedata) and hold no character that was assigned after Unicode 14: the pattern's letters and numbers
changed from 14 to 16 between tokenizers 0.21.0 and 0.21.1.
"""

import json
import sys

SOURCE_CODE = '''#include <vector>
template <typename T>
int main(int argc, char** argv) {
\tstd::vector<T> v{1, 2, 0x1F, 1'000'000};   // comment: "quoted"
\tfor (auto& x : v) { x <<= 3; x ^= ~x; }\r
\treturn v.size() >= 10 ? EXIT_SUCCESS : -1;
}
'''
PYTHON_CODE = '''def f(x: int = 3, *args, **kwargs) -> "str":
    """Doc's string."""
    if x != 0 and not kwargs.get('key_1'):
        return f"{x!r:>{10}}\\n" + r'\\d+'  # they're done


class A_b(C): pass
'''

HAND_MADE = [
    "", " ", "  ", "   ", "\n", "\r\n", "\r", "\t", "\n\n\n", " \n", "\n ", " \n \n ", "a\n", "a \n b", "a\r\n\r\nb\n", "\t\tx",
    "\u000b\u000c", "a\u000bb", "\u0085", "a\u0085b", "\u00a0a", "\u1680x", "\u2000\u2003 x", "\u2028", "\u2029a", "\u202f1",
    "\u205f", "\u3000\u3000\u4f60", "\u180ea", "a\u180e b", "\u200bx", "\u2060", "\ufeffx",
    "I'm, you're, he's, we'll, they've, I'd, don't", "I'M YOU'RE HE'S WE'LL THEY'VE I'D DON'T", "it'\u017fx", "'\u017f", "'\u212a",
    "''s", "'", "'x", "x'", "'sX", "'lL", "'l l", "\u2019s", "l'\u00e9t\u00e9", "O'Re'Re",
    "123", "1", "12 345.67", "0x1F", "1e-9", "\u0663\u0664", "\u00bd\u2153", "\u2167\u2188", "\u00b2\u00b3", "\u2460", "\u3007\u5341",
    "\U0001d7d8\U0001d7d9", "a1b2", "1a", "\u096b\u0967",
    "caf\u00e9", "cafe\u0301", "e\u0301\u0323", "e\u0323\u0301", "\u1e69", "s\u0323\u0307", "s\u0307\u0323", "\u0301", " \u0301", "\u0301\u0301",
    "a\u0345\u0301\u0334", "\u212b", "\u2126", "\u212a", "\u0958", "\u0915\u093c", "\ufb1d", "\u05e9\u05bc\u05c1", "\u0627\u0653",
    "\u1100\u1161\u11a8", "\uac00\u11a8", "\uac01\u11a8", "\u1100\u1161", "\u11a8", "\u1112\u1161\u11ab\u1100\u1173\u11af", "\u304b\u3099", "\u30cf\u309a",
    "\uf900\u2f800".replace("\u2f800", "\U0002f800"), "\u0344", "\u0f73\u0f75", "\u0f71\u0f72", "\u1fee", "\u1f71", "\u2adc",
    # Newer than the Unicode 9 of the normaliser: neither reordered nor composed.
    "e\u1abf\u0301", "e\u0301\u1abf\u0316", "\U00011935\U00011930", "\u08ca\u0301\u0316", "\U0001e130\u0316", "a\u0345\u0c3c\u0334",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01", "\u3053\u3093\u306b\u3061\u306f \u30ab\u30bf\u30ab\u30ca", "\uc548\ub155\ud558\uc138\uc694", "\U00020000\U0002a6d6",
    "\u0417\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439, \u043c\u0438\u0440", "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
    "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u1019\u103c\u1014\u103a\u1019\u102c", "ti\u1ebfng Vi\u1ec7t",
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44b\U0001f3fd", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "1\ufe0f\u20e3", " \U0001f680\U0001f680\n",
    "\u0000", "a\u0000b", "\u0001\u0002\u001f\u007f", "\u0080\u009f", "\u001b[31mred\u001b[0m", "\u00ad", "\u202eabc\u202c",
    "\u0378", "a\u0378b", "\ue000\uf8ff", "\ufdd0", "\uffff", "\U0010ffff", "\U000e0001\U000e0041", "\U000e0080", "\ufffd",
    "<|endoftext|>", "<|im_start|>user\nHi<|im_end|>\n", "<|im_start|><|im_start|>", "<|im_start", "im_start|>", "<|im_start|", "<<|im_end|>>", "<|im_end|> <|im_end|>",
    "<tool_call>\n{\"name\": 1}\n</tool_call>", "<tool_call", "</tool_call>x", "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", "<|box_start|>(1,2)<|box_end|>", "<|IM_END|>", "a<|file_sep|>e\u0301",
    "e<|im_end|>\u0301", "\u1100<|im_end|>\u1161",
    "snake_case camelCase SCREAMING_CASE kebab-case", "a+b==c&&!d||e", "//", "/* */", "#!/bin/sh\n", "...", "\u2026", "--", "___", "~~~\n", "$$$ \u20ac\u00a3", "=====\n\n", "http://a.b/c?d=e&f=%20#g", "me@x.org",
    SOURCE_CODE, PYTHON_CODE, "{\"k\": [1, 2.5, null], \"\\u00e9\": \"\\n\"}", "<p class=\"a\">x&nbsp;</p>\n", "a,b;c\t1\n", "\u221a2 \u2260 \u03c0 \u2208 \u211d", "\ufb01 \u00df \u0130 \u0131 \u01c5", "\u00aa\u00ba\u02b0\u3005",
    "a" * 1000, " " * 1000, "ab" * 500, "\n" * 300, "-" * 777, "0" * 333, "\u4e2d" * 400, "\u0301" * 200, "\U0001f600" * 100, "x" + " " * 99 + "y", "Th\u00e9 " * 200, "=" * 80 + "\n" + "-" * 80,
]  # fmt: skip

PARTS = [
    "the", " the", "The", " and", "ing", "tion", "a", "b", "Z", " ", "  ", "    ", "\t", "\n", "\r\n", "\r", ".", ",", ";", "(", ")", "{", "}", "'", "\"", "'s", "'T", "'re", "'LL",
    "0", "7", "42", "_", "-", "#", "\\", "/", "\u00e9", "e\u0301", "\u0301", "\u0323", "\u0327", "\u0334", "\u0345", "\u05b0", "\u093c", "\u0915", "\u3099", "\u304b",
    "\u1100", "\u1161", "\u11a8", "\uac00", "\u4e2d", "\u6587", "\u3000", "\u00a0", "\u2003", "\u0085", "\u180e", "\u200b", "\u200d", "\ufe0f", "\U0001f469", "\U0001f4bb", "\U0001f3fd",
    "\u0663", "\u00bd", "\u2167", "\u0416", "\u03b1", "\u05d0", "\u0639", "\u017f", "\u212a", "\ufb01", "\u00df", "\u0378", "\ue000", "\u0000", "\u0007", "\u007f",
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "<|", "|>", "\u1abf", "\U00011935", "\U00011930",
]  # fmt: skip

NUM_RANDOM = 300
NUM_CODE_POINTS = 100


def numbers(seed):
    """A linear congruential generator (Knuth's MMIX): the same everywhere."""
    while True:
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        yield seed >> 33


# Blocks that have had no additions between Unicode 14 and 16, of many scripts and planes.
BLOCKS = [
    (0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x36F), (0x391, 0x3A1), (0x400, 0x52F), (0x591, 0x5C7), (0x620, 0x6FF), (0x904, 0x950),
    (0x10A0, 0x10C5), (0x1100, 0x11FF), (0x13A0, 0x13F5), (0x1E00, 0x1EFF), (0x2000, 0x2064), (0x2100, 0x218B), (0x2190, 0x23FF),
    (0x2500, 0x27BF), (0x3041, 0x3096), (0x3099, 0x30FF), (0x4E00, 0x9FFF), (0xA000, 0xA48C), (0xAC00, 0xD7A3), (0xE000, 0xF8FF),
    (0xF900, 0xFA6D), (0xFB00, 0xFB06), (0xFB50, 0xFBB1), (0xFE00, 0xFE0F), (0xFF01, 0xFFBE), (0x10000, 0x1000B), (0x10400, 0x1044F),
    (0x1D15E, 0x1D1C0), (0x1D400, 0x1D454), (0x1F300, 0x1F64F), (0x20000, 0x2A6DF), (0x2F800, 0x2FA1D), (0xE0100, 0xE01EF), (0xF0000, 0xFFFFD),
]  # fmt: skip


def texts():
    yield from HAND_MADE
    random = numbers(1)
    for _ in range(NUM_RANDOM):
        yield "".join(PARTS[next(random) % len(PARTS)] for _ in range(1 + next(random) % 24))
    for _ in range(NUM_CODE_POINTS):
        text = ""
        for _ in range(1 + next(random) % 30):
            first, last = BLOCKS[next(random) % len(BLOCKS)]
            text += chr(first + next(random) % (last - first + 1))
        yield text


def main():
    if len(sys.argv) < 2:
        for text in texts():
            print(json.dumps({"text": text}))
        return
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1])
    print(json.dumps({"made_by": f"tokenizers {tokenizers.__version__}"}))
    for text in texts():
        # ASCII alone: JSON's escapes survive every editor and terminal.
        print(json.dumps({"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids}))


if __name__ == "__main__":
    main()
