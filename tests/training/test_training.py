#!/usr/bin/env python3
"""Tests of training/: what the documents hold, and that the decoder for the CPU computes attention."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "training"))
try:
    import torch
except ImportError:
    print("no torch for this Python: skipped")
    sys.exit(77)
import checkpoint
import decoder
import evaluate
import make_task
import recall_data
import vocabulary as words


class Documents(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(1)
        self.vocabulary = words.Vocabulary()
        self.documents = recall_data.Documents(self.vocabulary, "cpu")

    def items(self, tokens):
        return list(make_task.items(self.vocabulary, tokens, 8, 10, seed=3))

    def test_a_prefix_has_just_the_tokens_asked_for_whatever_its_length(self):
        for tokens in (96, 257, 400, 1024):
            self.assertEqual(self.documents.draw(3, tokens, 2)["prefix"].shape, (3, tokens))

    def test_a_text_is_the_ids_it_was_made_of(self):
        prefix = self.documents.draw(1, 600, 1)["prefix"][0].tolist()
        self.assertEqual(evaluate.word_ids(self.vocabulary, self.vocabulary.text(prefix)), prefix)

    def test_spans_hold_the_facts_that_an_answer_needs(self):
        for item in self.items(700):
            facts = [item["prefix"][begin:end] for begin, end in item["answer_spans"]]
            about = item["suffix"].split(" of ")[-1].removesuffix(" is")
            if item["kind"] == "single_fact":
                self.assertEqual(len(facts), 1)
                self.assertTrue(facts[0].endswith(f" of {about} is{item['answer']}."), facts)
            elif item["kind"] == "two_fact":
                friend = facts[0].split()[-1].rstrip(".")
                self.assertEqual(facts[0], f" The friend of {about} is {friend}.")
                self.assertTrue(facts[1].endswith(f" of {friend} is{item['answer']}."), facts)
            elif item["kind"] == "counting":
                self.assertEqual(facts, [f" One day a {about} was seen."] * item["prefix"].count(f" a {about} was seen."))
                self.assertEqual(words.NUMBERS.index(item["answer"].strip()) + 1, len(facts))
            else:
                self.assertEqual(len(facts), recall_data.EXAMPLES_PER_CLASS)
                self.assertTrue(all(fact.endswith(f" is{item['answer']}.") for fact in facts), facts)
                group = next(members for members in words.CATEGORIES.values() if about in members)
                self.assertTrue(all(fact.split()[3] in group for fact in facts), facts)

    def test_a_fact_is_stated_once_and_its_answer_is_among_the_choices(self):
        for item in self.items(700):
            if item["kind"] == "single_fact":
                owner = item["suffix"].split()[-2]
                self.assertEqual(item["prefix"].count(f" of {owner} is "), 1)
            self.assertIn(item["answer"], item["choices"])
            self.assertGreater(len(item["choices"]), 1)

    def test_the_same_seed_gives_the_same_task_and_no_question_twice(self):
        self.assertEqual(self.items(500), self.items(500))
        asked = [(item["prefix"], item["suffix"]) for item in self.items(500)]
        self.assertEqual(len(set(asked)), len(asked))

    def test_the_token_before_a_target_ends_the_question_and_the_target_follows_it(self):
        drawn = self.documents.draw(3, 450, 6)
        ids, targets, where = recall_data.training_rows(drawn, self.vocabulary)
        self.assertEqual(int((targets >= 0).sum()), 18)
        for row in range(3):
            for number, place in enumerate(where[row].tolist()):
                self.assertEqual(targets[row, place], drawn["answers"][row, number])
                self.assertEqual(ids[row, place + 1], drawn["answers"][row, number])
                self.assertEqual(ids[row, place], self.vocabulary.id_of["is"])

    def test_a_copy_is_of_an_earlier_segment_and_its_first_token_is_no_target(self):
        ids, targets = recall_data.copy_rows(self.vocabulary, 20, 64, "cpu")
        for row in range(20):
            places = (targets[row] >= 0).nonzero()[:, 0].tolist()
            self.assertEqual(len(places), 14)
            copied = ids[row, places[0]:places[-1] + 2].tolist()
            earlier = ids[row, :places[0]].tolist()
            self.assertTrue(any(earlier[i:i + 15] == copied for i in range(len(earlier) - 14)))
            self.assertEqual(targets[row, places].tolist(), ids[row, [p + 1 for p in places]].tolist())


class TheDecoder(unittest.TestCase):
    def test_blocked_attention_and_its_gradient_are_attention(self):
        torch.manual_seed(2)
        for tokens in (1, 19, decoder.QUERY_BLOCK, 2 * decoder.QUERY_BLOCK + 5):
            shapes = [(2, tokens, heads, 64) for heads in (4, 2, 2)]
            halves = [torch.randn(shape).bfloat16().requires_grad_() for shape in shapes]
            wholes = [half.detach().float().requires_grad_() for half in halves]
            weight = torch.randn(shapes[0])
            for inputs in (halves, wholes):
                (decoder.attention(*inputs).float() * weight).sum().backward()
            pairs = [(decoder.attention(*halves), decoder.attention(*wholes)),
                     *((half.grad, whole.grad) for half, whole in zip(halves, wholes))]
            for half, whole in pairs:
                # bf16 logits, shares and results: each rounds by up to 2^-9 of itself. With one token the gradients of
                # queries and keys are zero, as the difference of two numbers near 8.
                self.assertLess((half.float() - whole).norm(), 0.01 * whole.norm() + 0.2)

    def test_a_checkpoint_comes_back_as_it_was_but_for_bf16(self):
        shape = decoder.Shape(words.Vocabulary().size, tiny=True)
        model = decoder.Decoder(shape)
        decoder.start_with_circuits(model)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint.save(model, folder, num_shards=2)
            again = checkpoint.load(folder)
        for (name, before), (_, after) in zip(checkpoint.named_weights(model), checkpoint.named_weights(again)):
            self.assertTrue(torch.equal(before.bfloat16().float(), after), name)

    def test_circuits_look_back_one_and_two_tokens_before_any_training(self):
        torch.manual_seed(3)
        model = decoder.Decoder(decoder.Shape(words.Vocabulary().size, tiny=True)).eval()
        decoder.start_with_circuits(model)
        layer, s, tokens = model.layers[0], model.s, 50
        normed = layer.input_layernorm(model.embed(torch.randint(1000, (1, tokens))))
        turn = lambda projected, head: decoder.rotate(projected.view(tokens, -1, 1, s.head_dim)[:, head],
                                                      model.cos[:tokens], model.sin[:tokens])[:, 0]
        keys = turn(layer.k_proj(normed), 0)
        for head in (0, 1):
            logits = turn(layer.q_proj(normed), head) @ keys.T
            looked_at = logits.tril().argmax(-1)[head + 1:]
            self.assertEqual(looked_at.tolist(), list(range(tokens - head - 1)))


if __name__ == "__main__":
    unittest.main()
