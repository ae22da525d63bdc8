#!/usr/bin/env python3
"""Writes questions about long prefixes in the format of `reprefill eval`, drawn as in training with another seed.

  python3 training/make_task.py --tokens 2048 --prefixes 25 --questions 8 --out models/recall-small/tasks/recall-2k.jsonl
"""
import argparse
import json
import pathlib

import torch

import recall_data
import vocabulary as words


def items(vocabulary, tokens, prefixes, questions, seed):
    torch.manual_seed(seed)
    drawn = recall_data.Documents(vocabulary, "cpu").draw(prefixes, tokens, questions, (0.4, 0.2, 0.2, 0.2))
    for row in range(prefixes):
        ids = drawn["prefix"][row].tolist()
        prefix, begins = "", []
        for id_ in ids:
            begins.append(len(prefix))
            prefix += vocabulary.text_of[id_]
        begins.append(len(prefix))
        for number in range(questions):
            question = [id_ for id_ in drawn["questions"][row, number].tolist() if id_ >= 0]
            answer = vocabulary.text_of[int(drawn["answers"][row, number])]
            choices = []
            for id_ in drawn["choices"][row, number].tolist():
                if id_ >= 0 and vocabulary.text_of[id_] not in choices:
                    choices.append(vocabulary.text_of[id_])
            choices.sort()  # the answer must not be told by its place
            spans = [[begins[a], begins[b]] for a, b in drawn["evidence"][row, number].tolist() if a >= 0]
            yield {"id": f"{tokens}-{row}-{number}", "kind": recall_data.KINDS[int(drawn["kinds"][row, number])],
                   "prefix": prefix, "suffix": vocabulary.text(question), "choices": choices, "answer": answer,
                   "answer_spans": spans}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2048, help="of each prefix")
    parser.add_argument("--prefixes", type=int, default=25)
    parser.add_argument("--questions", type=int, default=8, help="about each prefix")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = items(words.Vocabulary(), options.tokens, options.prefixes, options.questions, options.seed)
    out.write_text("".join(json.dumps(item) + "\n" for item in lines))


if __name__ == "__main__":
    main()
