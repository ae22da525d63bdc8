"""Documents of the recall task, drawn on any device as token ids: facts scattered through filler, then questions.

Every sentence is a row of at most `WIDTH` ids. Rows of a document are put together in random order, so that sentences
begin anywhere and facts may straddle chunk borders. A document holds four kinds of facts:

  single_fact      The old boat of Maria is green.             -> the boat of Maria is (green)
  two_fact         The friend of Anton is Maria.         -> the boat of the friend of Anton is (green)
  counting         One day a fox was seen.  (one to five)      -> the count of fox is (three)
  classification   The class of apple is beta.                 -> the class of pear is (beta)
"""
import torch

import vocabulary as words

WIDTH = 12
KINDS = ["single_fact", "two_fact", "counting", "classification"]
NUM_COUNTED = 3      # animals counted in a document
NUM_CLASSES = 4      # categories with a label in a document
EXAMPLES_PER_CLASS = 3


class Documents:
    def __init__(self, vocabulary, device):
        self.vocabulary, self.device = vocabulary, device
        group = lambda items: torch.tensor(vocabulary.ids(items), device=device)
        self.names, self.objects, self.values = group(words.NAMES), group(words.OBJECTS), group(words.VALUES)
        self.adjectives, self.animals = group(words.ADJECTIVES), group(words.ANIMALS)
        self.labels, self.numbers = group(words.LABELS), group(words.NUMBERS)
        self.members = torch.stack([group(members) for members in words.CATEGORIES.values()])
        self.subjects, self.verbs = group(words.FILLER_SUBJECTS), group(words.FILLER_VERBS)
        self.places, self.adverbs = group(words.FILLER_PLACES), group(words.FILLER_ADVERBS)
        self.openers = group(["Well", "Now", "Later", "So", "Still", "Note"])

    def _pick(self, pool, shape):
        return pool[torch.randint(len(pool), shape, device=self.device)]

    def _rows(self, shape, parts):
        """Sentences of the given parts (words, or tensors of ids), padded with -1 to WIDTH: [*shape, WIDTH]."""
        rows = torch.full((*shape, WIDTH), -1, dtype=torch.long, device=self.device)
        for column, part in enumerate(parts):
            rows[..., column] = self.vocabulary.id_of[part] if isinstance(part, str) else part
        return rows

    def _choice(self, count, batch, size):
        """`size` different numbers below `count` for each of `batch` documents."""
        return torch.rand(batch, count, device=self.device).argsort(dim=1)[:, :size]

    def draw(self, batch, prefix_tokens, num_questions, kind_weights=(0.55, 0.2, 0.1, 0.15)):
        """A batch of documents. Returns a dict:
        prefix [batch, prefix_tokens], questions [batch, num_questions, width] padded with -1 (the answer is the token
        after the last), answers, kinds [batch, num_questions], choices [batch, num_questions, 9], and where the facts
        lie: evidence [batch, num_questions, 5, 2] (begin and end tokens in the prefix, -1 where there are fewer)."""
        num_facts = max(4, min(120, prefix_tokens // 24))
        num_friends = max(2, num_facts // 6)
        facts = self._facts(batch, num_facts, num_friends)
        special = torch.cat([facts["rows"], facts["friend_rows"]], dim=1)
        use_rare = prefix_tokens >= 400  # short documents have room for neither counting nor classes
        counted = self._counted(batch)
        classes = self._classes(batch)
        if use_rare:
            special = torch.cat([special, counted["rows"], classes["rows"]], dim=1)
        prefix, begin, length = self._assemble(special, prefix_tokens)
        weights = torch.tensor(kind_weights if use_rare else (0.75, 0.25, 0, 0), device=self.device)
        kinds = torch.multinomial(weights, batch * num_questions, replacement=True).view(batch, num_questions)
        return self._ask(prefix, begin, length, facts, counted, classes, kinds)

    def _facts(self, batch, num_facts, num_friends):
        names = self.names[self._choice(len(self.names), batch, num_facts + num_friends)]
        owners, askers = names[:, :num_facts], names[:, num_facts:]
        shape = (batch, num_facts)
        objects, values = self._pick(self.objects, shape), self._pick(self.values, shape)
        rows = self._rows(shape, ["The", self._pick(self.adjectives, shape), objects, "of", owners, "is", values, "."])
        friend = torch.randint(num_facts, (batch, num_friends), device=self.device)
        friend_rows = self._rows((batch, num_friends), ["The", "friend", "of", askers, "is",
                                                        owners.gather(1, friend), "."])
        return {"rows": rows, "friend_rows": friend_rows, "owners": owners, "objects": objects, "values": values,
                "askers": askers, "friend": friend}

    def _counted(self, batch):
        shape = (batch, NUM_COUNTED)
        what = self.animals[self._choice(len(self.animals), batch, NUM_COUNTED)]
        count = torch.randint(1, len(self.numbers) + 1, shape, device=self.device)
        most = len(self.numbers)
        rows = self._rows((batch, NUM_COUNTED, most), ["One", "day", "a", what[..., None], "was", "seen", "."])
        absent = torch.arange(most, device=self.device)[None, None] >= count[..., None]
        rows[absent] = -1
        return {"rows": rows.view(batch, NUM_COUNTED * most, WIDTH), "what": what, "count": count}

    def _classes(self, batch):
        categories = self._choice(len(self.members), batch, NUM_CLASSES)
        labels = self.labels[self._choice(len(self.labels), batch, NUM_CLASSES)]
        order = torch.rand(batch, NUM_CLASSES, self.members.shape[1], device=self.device).argsort(dim=-1)
        members = self.members[categories].gather(2, order)  # shuffled: the first are examples, the last is asked
        examples = members[:, :, :EXAMPLES_PER_CLASS]
        rows = self._rows(examples.shape, ["The", "class", "of", examples, "is",
                                           labels[..., None].expand_as(examples), "."])
        return {"rows": rows.view(batch, -1, WIDTH), "labels": labels, "asked": members[:, :, -1]}

    def _filler(self, batch, count):
        shape = (batch, count)
        forms = [
            ["The", self._pick(self.subjects, shape), self._pick(self.verbs, shape), self._pick(self.adverbs, shape), "."],
            ["A", self._pick(self.subjects, shape), self._pick(self.verbs, shape), "near", "the",
             self._pick(self.places, shape), "."],
            [self._pick(self.openers, shape), ",", "the", self._pick(self.subjects, shape), self._pick(self.verbs, shape),
             "by", "the", self._pick(self.places, shape), "and", "the", self._pick(self.places, shape), "."],
            ["Still", ",", "it", "was", "a", self._pick(self.subjects, shape), "over", "the",
             self._pick(self.places, shape), "."],
        ]
        rows = torch.stack([self._rows(shape, form) for form in forms])
        which = torch.randint(len(forms), shape, device=self.device)
        return rows.gather(0, which[None, :, :, None].expand(1, batch, count, WIDTH))[0]

    def _assemble(self, special, prefix_tokens):
        """Special sentences at random places among filler; exactly `prefix_tokens` tokens, all special ones within.
        Returns the prefix and, for each special sentence, where it begins and how long it is."""
        batch, count = special.shape[:2]
        lengths = (special >= 0).sum(-1)
        room = prefix_tokens - lengths.sum(1)
        num_filler = max(1, int(prefix_tokens // 5))
        filler = self._filler(batch, num_filler)
        filler_lengths = (filler >= 0).sum(-1)
        kept = filler_lengths.cumsum(1) <= room[:, None]  # whole sentences while there is room
        filler[~kept] = -1
        rows = torch.cat([special, filler], dim=1)
        lengths = (rows >= 0).sum(-1)
        # What is left over is filled with openers at the start.
        rest = prefix_tokens - lengths.sum(1)
        order = torch.rand(rows.shape[:2], device=self.device).argsort(dim=1)
        lengths_in_order = lengths.gather(1, order)
        begin_in_order = rest[:, None] + lengths_in_order.cumsum(1) - lengths_in_order
        begin = torch.empty_like(begin_in_order).scatter_(1, order, begin_in_order)
        prefix = self._pick(self.openers, (batch, prefix_tokens + WIDTH))
        at = begin[..., None] + torch.arange(WIDTH, device=self.device)
        at = torch.where(rows >= 0, at, prefix_tokens)  # padding goes behind the end
        prefix.scatter_(1, at.view(batch, -1), torch.where(rows >= 0, rows, 0).view(batch, -1))
        return prefix[:, :prefix_tokens], begin[:, :count], lengths[:, :count]

    def _ask(self, prefix, begin, length, facts, counted, classes, kinds):
        batch, num_questions = kinds.shape
        pick = lambda high: torch.randint(high, (batch, num_questions), device=self.device)
        fact = pick(facts["owners"].shape[1])
        friend = pick(facts["askers"].shape[1])
        of_friend = facts["friend"].gather(1, friend)
        pair, label = pick(NUM_COUNTED), pick(NUM_CLASSES)
        owner, thing, value = (facts[key].gather(1, fact) for key in ("owners", "objects", "values"))
        asker = facts["askers"].gather(1, friend)
        thing_2, value_2 = facts["objects"].gather(1, of_friend), facts["values"].gather(1, of_friend)
        what = counted["what"].gather(1, pair)
        number = self.numbers[counted["count"].gather(1, pair) - 1]
        member, class_label = classes["asked"].gather(1, label), classes["labels"].gather(1, label)
        shape = (batch, num_questions)
        width = 24
        texts = [
            ["Question", ":", "what", "is", "the", thing, "of", owner, "?", "Answer", ":", "the", thing, "of", owner, "is"],
            ["Question", ":", "what", "is", "the", thing_2, "of", "the", "friend", "of", asker, "?", "Answer", ":", "the",
             thing_2, "of", "the", "friend", "of", asker, "is"],
            ["Question", ":", "how", "often", "was", "a", what, "seen", "?", "Answer", ":", "the", "count", "of", what, "is"],
            ["Question", ":", "what", "is", "the", "class", "of", member, "?", "Answer", ":", "the", "class", "of", member,
             "is"],
        ]
        questions = torch.full((len(KINDS), *shape, width), -1, dtype=torch.long, device=self.device)
        for kind, parts in enumerate(texts):
            for column, part in enumerate(parts):
                questions[kind, ..., column] = self.vocabulary.id_of[part] if isinstance(part, str) else part
        by_kind = lambda options: torch.stack(options).gather(0, kinds[None])[0]
        questions = questions.gather(0, kinds[None, ..., None].expand(1, *shape, width))[0]
        answers = by_kind([value, value_2, number, class_label])
        # Rows of the facts that an answer needs, in the order in which draw() put them together.
        first_friend = facts["owners"].shape[1]
        first_counted = first_friend + facts["askers"].shape[1]
        first_class = first_counted + NUM_COUNTED * len(self.numbers)
        none = torch.full(shape, -1, device=self.device)
        evidence = []
        for number in range(len(self.numbers)):
            index = by_kind([fact if number == 0 else none, [first_friend + friend, of_friend, none, none, none][number],
                             first_counted + pair * len(self.numbers) + number,
                             first_class + label * EXAMPLES_PER_CLASS + number if number < EXAMPLES_PER_CLASS else none])
            evidence.append(self._span(begin, length, index))
        evidence = torch.stack(evidence, dim=2)
        return {"prefix": prefix, "questions": questions, "answers": answers, "kinds": kinds, "evidence": evidence,
                "choices": self._choices(facts, classes, kinds, answers)}

    @staticmethod
    def _span(begin, length, index):
        start = begin.gather(1, index.clamp(min=0))
        span = torch.stack([start, start + length.gather(1, index.clamp(min=0))], dim=-1)
        there = (index >= 0) & (span[..., 1] > span[..., 0])  # of five sightings only so many as counted are there
        return torch.where(there[..., None], span, -1)

    def _choices(self, facts, classes, kinds, answers):
        """The answer and others of its kind; -1 where there are fewer than eight."""
        shape = (*kinds.shape, 8)
        others = facts["values"].gather(1, torch.randint(facts["values"].shape[1], (kinds.shape[0], kinds.shape[1] * 8),
                                                         device=self.device)).view(shape)
        numbers = torch.full(shape, -1, dtype=torch.long, device=self.device)
        numbers[..., : len(self.numbers)] = self.numbers
        labels = torch.full(shape, -1, dtype=torch.long, device=self.device)
        labels[..., :NUM_CLASSES] = classes["labels"][:, None, :]
        table = torch.stack([others, others, numbers, labels])
        chosen = table.gather(0, kinds[None, ..., None].expand(1, *shape))[0]
        return torch.cat([answers[..., None], chosen], dim=-1)


def training_rows(drawn, vocabulary):
    """Prefix, then every question with its answer: ids, and targets that are -100 but for answers. [batch, tokens]."""
    prefix, questions, answers = drawn["prefix"], drawn["questions"], drawn["answers"]
    batch, count, width = questions.shape
    lengths = (questions >= 0).sum(-1)
    slots = torch.cat([questions, torch.full((batch, count, 2), -1, device=questions.device)], dim=-1)
    slots.scatter_(2, lengths[..., None], answers[..., None])
    slots.scatter_(2, lengths[..., None] + 1, vocabulary.id_of["."])
    totals = lengths + 2
    begin = totals.cumsum(1) - totals
    size = int(totals.sum(1).max())
    out = torch.full((batch, size + 1), vocabulary.end_id, dtype=torch.long, device=questions.device)
    at = torch.where(slots >= 0, begin[..., None] + torch.arange(width + 2, device=questions.device), size)
    out.scatter_(1, at.view(batch, -1), torch.where(slots >= 0, slots, vocabulary.end_id).view(batch, -1))
    ids = torch.cat([prefix, out[:, :size]], dim=1)
    targets = torch.full_like(ids, -100)
    where = prefix.shape[1] + begin + lengths - 1  # the position whose next token is the answer
    targets.scatter_(1, where, answers)
    return ids, targets, where


def copy_rows(vocabulary, batch, tokens, device):
    """Random words in which a random segment comes again at a random later place: targets only in the copy."""
    pool = torch.tensor(sorted(vocabulary.text_of), device=device)
    ids = pool[torch.randint(len(pool), (batch, tokens), device=device)]
    length = max(8, tokens // 4)
    source = torch.randint(0, tokens - 2 * length, (batch, 1), device=device)
    low = source + length
    place = low + (torch.rand(batch, 1, device=device) * (tokens - length - low + 1)).long()
    steps = torch.arange(length, device=device)[None]
    segment = ids.gather(1, source + steps)
    ids.scatter_(1, place + steps, segment)
    targets = torch.full_like(ids, -100)
    targets.scatter_(1, (place + steps)[:, 1:-1], segment[:, 2:])  # the first of the copy cannot be known
    return ids, targets
