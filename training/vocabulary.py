"""The words of the recall task, and a byte-level BPE tokenizer in which each of them is one token.

The tokenizer has the very shape of Qwen2.5's tokenizer.json. Its merges spell each word from the left ("G" + "r", "Gr" +
"e", ...), so any text can be encoded, and a text of these words has exactly one token a word or punctuation mark.
"""
import json

NAMES = """Maria Peter Oscar Julia Anton Clara Bruno Elena Felix Greta Henry Irene Jonas Karin Lukas Marta Nils Olga Paul Rosa
Simon Tina Ulrich Vera Walter Xenia Yuri Zoe Adam Bella Carlos Diana Edwin Fiona George Hanna Ivan Jenny Kurt Laura Mike Nina
Otto Paula Quinn Rita Sven Tara Uma Victor Wendy Yara Alma Boris Celia David Erik Flora Gina Hugo Ida Jan Kira Leon Mona Noah
Olaf Petra Ralph Sara Tom Ursula Viktor Willow Alan Betty Colin Doris Ethan Frida Gavin Helga Igor Jill Keith Linda Mark Nora
Oliver Polly Rex Stella Tobias Vivian Wilma Arthur Bianca Cedric Dora Emil Faye Gordon Heidi Isaac Joan Kevin Lily Martin Naomi
Oskar Pia Ronald Sophie Thomas Valerie William Agnes Bernard Carmen Dennis Edith Frank Gloria Harold Ingrid Jacob Kate Louis
Miriam Norman Opal Philip Ruth Samuel Teresa Vincent Wanda Albert Brenda Clive Daphne Ernest Freya Gerald Hazel Ian Judith Karl
Leah Magnus Nadia Owen Phoebe Robert Selma Trevor Violet Warren Astrid Benedict Cora Dominic Esther Fabian Gwen Hector Iris
Jasper Kai Lena Milo Nell Orson Priya Rufus Sonia Tristan Una Vance Willa Yvonne Zane Amos Beryl Casper Delia Elias""".split()
OBJECTS = """boat house bicycle coat table chair lamp garden kitchen wagon violin basket blanket bottle button candle carpet clock
cup curtain door drum envelope fence flag gate glove hammer hat jar kettle ladder mirror necklace notebook pencil pillow plate
ring rope saddle scarf shirt shoe spoon suitcase sweater tent tower umbrella vase wall window""".split()
VALUES = """green red blue yellow purple orange brown black white grey pink silver golden wooden iron marble paper cotton leather
glass copper velvet plastic rubber clay ivory crimson turquoise amber scarlet emerald bronze tiny huge round square heavy light
warm cold soft hard sharp smooth rough bright dark clean dirty dusty broken new ancient empty full hollow painted polished
folded crooked""".split()
ADJECTIVES = "old little famous favourite second first only best".split()
ANIMALS = """fox wolf bear deer hen hawk goose swan beaver badger hare squirrel lynx seal crane raven""".split()
CATEGORIES = {
    "animal": "tiger horse rabbit camel monkey donkey turtle lizard".split(),
    "fruit": "apple pear cherry banana grape lemon peach plum".split(),
    "tool": "saw drill wrench chisel pliers shovel rake axe".split(),
    "clothing": "jacket sock trousers skirt belt vest cap dress".split(),
    "vehicle": "truck train tram ferry scooter tractor van bus".split(),
    "instrument": "piano flute trumpet cello guitar harp organ banjo".split(),
}
LABELS = "alpha beta gamma delta epsilon zeta theta kappa lambda sigma omega omicron".split()
NUMBERS = "one two three four five".split()
FILLER_SUBJECTS = """wind rain river mountain market village forest road bridge station library school harbour square field valley
cloud storm morning night winter summer traveller baker farmer teacher sailor painter doctor writer""".split()
FILLER_VERBS = """moved waited stood slept turned rested stayed walked worked listened passed returned""".split()
FILLER_PLACES = """hills lake town castle sea mill orchard meadow tavern church gardens cliffs docks shore canal woods""".split()
FILLER_ADVERBS = "slowly quietly again together early late often softly".split()
FUNCTION_WORDS = """The the A a of is in on by near over under and then was were that this it there here Question what Answer how
often seen day One count class friend Well Now Later So Still Note""".split()
PUNCTUATION = [".", ",", "?", ":"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def all_words():
    lists = [NAMES, OBJECTS, VALUES, ADJECTIVES, ANIMALS, *CATEGORIES.values(), LABELS, NUMBERS, FILLER_SUBJECTS,
             FILLER_VERBS, FILLER_PLACES, FILLER_ADVERBS, FUNCTION_WORDS]
    return sorted({word for words in lists for word in words})


def byte_alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table, extra = {}, 0
    for byte in range(256):
        if byte in printable:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(0x100 + extra)
            extra += 1
    return table


def build_tokenizer():
    """The content of tokenizer.json."""
    alphabet = byte_alphabet()
    vocab = {alphabet[byte]: byte for byte in range(256)}
    merges = []
    blank = alphabet[0x20]
    for word in all_words():
        token = blank
        for letter in word:
            grown = token + letter
            if grown not in vocab:
                vocab[grown] = len(vocab)
                merges.append(f"{token} {letter}")
            token = grown
    added = []
    for content in SPECIAL:
        added.append({"id": len(vocab) + len(added), "content": content, "single_word": False, "lstrip": False,
                      "rstrip": False, "normalized": False, "special": True})
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}, byte_level]},
        "post_processor": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": merges},
    }


class Vocabulary:
    """Ids of pieces: a word stands for itself with a blank before it, a punctuation mark for itself."""

    def __init__(self, tokenizer=None):
        tokenizer = tokenizer or build_tokenizer()
        blank = byte_alphabet()[0x20]
        vocab = tokenizer["model"]["vocab"]
        self.size = len(vocab) + len(tokenizer["added_tokens"])
        self.id_of = {word: vocab[blank + word] for word in all_words()}
        self.id_of.update({mark: vocab[mark] for mark in PUNCTUATION})
        self.text_of = {id_: (word if word in PUNCTUATION else " " + word) for word, id_ in self.id_of.items()}
        self.end_id = len(vocab)  # <|endoftext|>

    def ids(self, words):
        return [self.id_of[word] for word in words]

    def text(self, ids):
        return "".join(self.text_of[int(id_)] for id_ in ids)


if __name__ == "__main__":
    tokenizer = build_tokenizer()
    print(json.dumps({"words": len(all_words()), "ids": Vocabulary(tokenizer).size}))
