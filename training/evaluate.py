#!/usr/bin/env python3
"""Accuracy of a checkpoint on task files, by kind and file, without the project's engine: a second opinion on it.

  python3 training/evaluate.py --model models/recall-small models/recall-small/tasks/*.jsonl
  ... --transformers        Hugging Face's Qwen2ForCausalLM and tokenizer instead, compared with the plain decoder

Two scores: the highest of all tokens is the answer's first (greedy), and the highest among the choices is (choice).
"""
import argparse
import collections
import json
import pathlib
import re

import torch

import checkpoint
import vocabulary as words


def word_ids(vocabulary, text):
    """Ids of a text of known words, by looking words up: what the tokenizer must give."""
    return [vocabulary.id_of[piece.strip()] for piece in re.findall(r" ?\w+|[.,?:]", text)]


class PlainModel:
    def __init__(self, folder, device):
        self.vocabulary, self.device = words.Vocabulary(), device
        self.model = checkpoint.load(folder).to(device).eval()

    def ids(self, text):
        return word_ids(self.vocabulary, text)

    def last_logits(self, ids):
        return self.model.logits(self.model(torch.tensor([ids], device=self.device))[:, -1])[0].float().cpu()


class TransformersModel:
    def __init__(self, folder, device):
        from transformers import AutoTokenizer, Qwen2ForCausalLM
        self.device = device
        self.model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.plain = PlainModel(folder, device)
        self.largest_difference = self.largest_logit = 0.0

    def ids(self, text):
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == self.plain.ids(text), "the tokenizer does not give one token a word"
        return ids

    def last_logits(self, ids):
        logits = self.model(torch.tensor([ids], device=self.device), use_cache=False).logits[0, -1].float().cpu()
        difference = (logits - self.plain.last_logits(ids)).abs().max().item()
        self.largest_difference = max(self.largest_difference, difference)
        self.largest_logit = max(self.largest_logit, logits.abs().max().item())
        return logits


@torch.no_grad()
def evaluate(model, file, limit):
    right = collections.defaultdict(lambda: [0, 0, 0])
    for line in file.read_text().splitlines()[:limit]:
        item = json.loads(line)
        logits = model.last_logits(model.ids(item["prefix"] + item["suffix"]))
        first = [model.ids(choice)[0] for choice in item["choices"]]
        answer = model.ids(item["answer"])[0]
        counts = right[item["kind"]]
        counts[0] += 1
        counts[1] += int(logits.argmax()) == answer
        counts[2] += first[int(logits[first].argmax())] == answer
    for kind, (items, greedy, choice) in sorted(right.items()):
        print(f"{file.name} {kind}: {items} items, greedy {greedy / items:.4f}, choice {choice / items:.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--transformers", action="store_true")
    parser.add_argument("--limit", type=int, help="items of each file")
    parser.add_argument("tasks", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = (TransformersModel if options.transformers else PlainModel)(options.model, device)
    for file in options.tasks:
        evaluate(model, file, options.limit)
    if options.transformers:
        print(f"logits differ by at most {model.largest_difference:.2e} from the plain decoder's "
              f"(largest logit {model.largest_logit:.1f})")


if __name__ == "__main__":
    main()
