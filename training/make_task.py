#!/usr/bin/env python3
"""Writes questions about long prefixes in the format of `reprefill eval`, drawn as in training with another seed.

  python3 training/make_task.py --tokens 2048 --prefixes 16 --questions 10 --out models/recall-small/tasks/recall-2k.jsonl
"""
import argparse
import json
import pathlib

import torch

import recall_data
import vocabulary as words


PER_TEN = {"single_fact": 4, "two_fact": 2, "counting": 2, "classification": 2}


def different_questions(drawn, row, count):
    """Indices of `count` questions about a prefix, none twice, in the proportions of PER_TEN."""
    wanted = {kind: share * count // 10 for kind, share in PER_TEN.items()}
    wanted["single_fact"] += count - sum(wanted.values())
    chosen, seen = [], set()
    for number, question in enumerate(drawn["questions"][row].tolist()):
        kind = recall_data.KINDS[int(drawn["kinds"][row, number])]
        if wanted[kind] > 0 and tuple(question) not in seen:
            wanted[kind] -= 1
            seen.add(tuple(question))
            chosen.append(number)
    if len(chosen) < count:
        raise SystemExit(f"{count} questions about a prefix: it holds facts for fewer ({recall_data.NUM_COUNTED} of counting, "
                         f"{recall_data.NUM_CLASSES} of classification)")
    return chosen


def items(vocabulary, tokens, prefixes, questions, seed):
    torch.manual_seed(seed)
    drawn = recall_data.Documents(vocabulary, "cpu").draw(prefixes, tokens, 40 + 8 * questions, (0.25, 0.25, 0.25, 0.25))
    text_of = lambda id_: vocabulary.text_of[int(id_)]
    for row in range(prefixes):
        prefix, begins = "", []
        for id_ in drawn["prefix"][row]:
            begins.append(len(prefix))
            prefix += text_of(id_)
        begins.append(len(prefix))
        for number in different_questions(drawn, row, questions):
            suffix = vocabulary.text([id_ for id_ in drawn["questions"][row, number].tolist() if id_ >= 0])
            # Sorted: the answer must not be told by its place.
            choices = sorted({text_of(id_) for id_ in drawn["choices"][row, number].tolist() if id_ >= 0})
            spans = [[begins[a], begins[b]] for a, b in drawn["evidence"][row, number].tolist() if a >= 0]
            yield {"id": f"{tokens}-{row}-{number}", "kind": recall_data.KINDS[int(drawn["kinds"][row, number])],
                   "prefix": prefix, "suffix": suffix, "choices": choices, "answer": text_of(drawn["answers"][row, number]),
                   "answer_spans": spans}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2048, help="of each prefix, at least 400")
    parser.add_argument("--prefixes", type=int, default=16)
    parser.add_argument("--questions", type=int, default=10, help="about each prefix")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    if options.tokens < 400 or options.prefixes < 1 or options.questions < 1:
        parser.error("--tokens from 400, --prefixes and --questions from 1")
    out = pathlib.Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = items(words.Vocabulary(), options.tokens, options.prefixes, options.questions, options.seed)
    out.write_text("".join(json.dumps(item) + "\n" for item in lines))


if __name__ == "__main__":
    main()
