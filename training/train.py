#!/usr/bin/env python3
"""Trains models/recall-small: a Qwen2 decoder that finds facts in contexts of up to 4k tokens.

  python3 training/train.py --out DIR --seconds 520                     on one GPU
  python3 training/train.py --out DIR --seconds 4200 --workers 3        on a CPU (torch 1.13 of Debian 12 or later)
  python3 training/train.py --out DIR --seconds 60 --workers 1 --tiny   a dry run

Recall is learned in stages of growing length. A stage ends when single facts are right and its share of the time is
over; a quarter of the steps is from earlier stages. The loss is on the answers only; the rate decays over the last
quarter of the time. Weights are written every few minutes and at the end, so that a run cut off leaves a checkpoint;
--resume DIR continues from its weights. With --start random (instead of circuits, decoder.py) the model first
learns to copy a random segment to a random later place, for a quarter of the time at most.
"""
import argparse
import os
import time

import torch
import torch.multiprocessing as multiprocessing
import torch.nn.functional as F
from torch import nn

import checkpoint
import recall_data
import vocabulary as words
from decoder import Decoder, Shape, start_with_circuits

STAGES = [96, 256, 512, 1024, 2048, 4096]
STAGE_ENDS = [0.03, 0.10, 0.30, 0.50, 0.72, 1.0]  # shares of the time before which a stage does not end
COPY = 0                                          # in place of a length: a step of the copying stage
STOP = -1
MOVE_ON = 0.96
SAVE_EVERY_S = 300


def questions_for(length):
    return 8 if length <= 96 else 16 if length <= 512 else 40


class Batches:
    """Draws steps of about `batch_tokens` tokens: ids, targets, and the kind of each target in order."""

    def __init__(self, device, batch_tokens):
        self.vocabulary = words.Vocabulary()
        self.documents = recall_data.Documents(self.vocabulary, device)
        self.device, self.batch_tokens = device, batch_tokens

    def draw(self, length):
        if length == COPY:
            ids, targets = recall_data.copy_rows(self.vocabulary, max(2, self.batch_tokens // 256), 256, self.device)
            return ids, targets, torch.zeros_like(targets[targets >= 0])
        count = questions_for(length)
        batch = max(1, self.batch_tokens // (length + 20 * count))
        drawn = self.documents.draw(batch, length, count)
        ids, targets, where = recall_data.training_rows(drawn, self.vocabulary)
        kinds = torch.full_like(targets, -1).scatter_(1, where, drawn["kinds"])
        if ids.is_cuda:  # one size a stage, whatever kinds were drawn: compiled once. Answers cut off are few.
            size = length + 20 * count + 16
            fit = lambda x, value: F.pad(x[:, :size], (0, max(0, size - x.shape[1])), value=value)
            ids, targets, kinds = fit(ids, self.vocabulary.end_id), fit(targets, -100), fit(kinds, -1)
        return ids, targets, kinds[targets >= 0]


class Gradient:
    """Loss, hits by kind, and gradients of one drawn step."""

    def __init__(self, model, batches, device):
        self.model, self.batches, self.device = model, batches, device

    def compute(self, length):
        ids, targets, kinds = self.batches.draw(length)
        wanted = targets >= 0
        with torch.autocast(self.device, dtype=torch.bfloat16):
            logits = self.model.logits(self.model(ids)[wanted])
        loss = F.cross_entropy(logits.float(), targets[wanted])
        loss.backward()
        hit = logits.argmax(-1) == targets[wanted]
        by_kind = lambda which: torch.bincount(which, minlength=len(recall_data.KINDS))
        return torch.cat([by_kind(kinds[hit]), by_kind(kinds), loss.detach()[None]]).float().cpu()


def work(rank, shared, options):
    """A worker of the CPU: waits for a length, adds its gradients; weights are shared memory that rank 0 updates."""
    os.nice(options.nice)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed * 1000 + rank)
    gradient = Gradient(shared.model, Batches("cpu", options.batch_tokens), "cpu")
    parameters = list(shared.model.parameters())
    while True:
        shared.barrier.wait()
        length = int(shared.length)
        if length == STOP:
            return
        for parameter in parameters:
            parameter.grad = None
        shared.scores[rank] = gradient.compute(length)
        torch.cat([parameter.grad.view(-1) for parameter in parameters], out=shared.gradients[rank])
        shared.barrier.wait()


class Shared:
    """What the workers of the CPU see of each other."""

    def __init__(self, model, count):
        self.model = model.share_memory()
        self.barrier = multiprocessing.get_context("fork").Barrier(count, timeout=1800)  # ends what a killed run left
        size = sum(parameter.numel() for parameter in model.parameters())
        self.length = torch.zeros((), dtype=torch.long).share_memory_()
        self.scores = torch.zeros(count, 9).share_memory_()
        self.gradients = [torch.zeros(size).share_memory_() for _ in range(count)]


class Trainer:
    def __init__(self, options):
        torch.manual_seed(options.seed)
        self.options, self.start = options, time.time()
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = Decoder(Shape(words.Vocabulary().size, options.tiny))
        if options.start == "circuits":
            start_with_circuits(self.model)
        if options.resume:
            self.model = checkpoint.load(options.resume)
        self.stage = options.stage
        self.model.to(self.device)
        decayed = [p for p in self.model.parameters() if p.dim() == 2]
        others = [p for p in self.model.parameters() if p.dim() != 2]
        self.optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
                                           lr=options.rate, betas=(0.9, 0.95))
        self.steps, self.saved, self.window = 0, self.start, []
        self.prepare()

    def prepare(self):
        if self.device == "cuda":
            torch.set_float32_matmul_precision("high")
            torch._dynamo.config.suppress_errors = True  # a layer that cannot be compiled runs as it is
            torch._dynamo.config.cache_size_limit = 64   # one entry for each length of a stage
            for layer in self.model.layers:
                layer.compile(dynamic=False)
            self.gradient = Gradient(self.model, Batches("cuda", self.options.batch_tokens), "cuda")
            return
        self.shared = Shared(self.model, self.options.workers)
        context = multiprocessing.get_context("fork")
        self.workers = [context.Process(target=work, args=(rank, self.shared, self.options), daemon=True)
                        for rank in range(1, self.options.workers)]
        for worker in self.workers:
            worker.start()
        os.nice(self.options.nice)
        torch.set_num_threads(1)
        torch.manual_seed(self.options.seed * 1000)
        self.gradient = Gradient(self.model, Batches("cpu", self.options.batch_tokens), "cpu")

    def elapsed(self):
        return time.time() - self.start

    def share(self):
        return self.elapsed() / self.options.seconds

    def rate(self):
        decay = min(1.0, max(0.02, (1 - self.share()) / 0.25))
        return self.options.rate * min(1.0, (self.steps + 1) / self.options.warm_up) * decay

    def step(self, length):
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.zero_grad(set_to_none=True)
        if self.device == "cuda":
            scores = self.gradient.compute(length)[None]
        else:
            self.shared.length.fill_(length)
            self.shared.barrier.wait()
            self.shared.scores[0] = self.gradient.compute(length)
            self.shared.barrier.wait()
            scores = self.shared.scores.clone()
            self.add_gradients()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.steps += 1
        return torch.cat([scores[:, :8].sum(0), scores[:, 8:].mean(0)])

    def add_gradients(self):
        """Mean over the workers, into the gradients of rank 0."""
        total, begin = sum(self.shared.gradients[1:], torch.zeros(())), 0
        for parameter in self.model.parameters():
            size = parameter.numel()
            if self.options.workers > 1:
                parameter.grad += total[begin:begin + size].view_as(parameter)
            parameter.grad /= self.options.workers
            begin += size

    def report(self, length):
        """Right answers by kind over the last steps of this stage (drawn afresh each, so never trained on before)."""
        total = torch.stack(self.window).sum(0)
        right = (total[:4] / total[4:8]).tolist()
        print(f"stage {length} step {self.steps} {self.elapsed():.0f} s loss {total[8].item() / len(self.window):.3f} right "
              + " ".join(f"{kind} {value:.3f}" for kind, value in zip(recall_data.KINDS, right)), flush=True)
        return right[0]

    def run_stages(self, stages):
        while self.share() < 1:
            length = stages[self.stage]
            if self.stage > 0 and self.steps % 4 == 0:
                length = stages[int(torch.randint(self.stage, ()))]
            score = self.step(length)
            if length == stages[self.stage]:
                self.window.append(score)
            if len(self.window) == self.options.report_every:
                right = self.report(length)
                self.window = []
                at_end = self.stage + 1 == len(stages)
                if right > MOVE_ON and not at_end and self.share() > STAGE_ENDS[self.stage]:
                    self.stage += 1
            if time.time() - self.saved > SAVE_EVERY_S:
                self.save()

    def copy_stage(self):
        while self.share() < 0.25:
            self.window.append(self.step(COPY))
            if len(self.window) == self.options.report_every:
                right = self.report("copy")
                self.window = []
                if right > 0.97:
                    return

    def save(self):
        checkpoint.save(self.model, self.options.out)
        self.saved = time.time()

    def run(self):
        if self.options.start == "random" and not self.options.resume:
            self.copy_stage()
        self.run_stages(STAGES[:2] if self.options.tiny else STAGES)
        self.save()
        if self.device == "cpu":
            self.shared.length.fill_(STOP)
            self.shared.barrier.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seconds", type=float, default=520)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=5e-4, help="highest learning rate; 2e-3 with --start random")
    parser.add_argument("--warm-up", type=int, default=40, help="steps")
    parser.add_argument("--batch-tokens", type=int, default=1 << 16, help="a step of one worker, or of the GPU")
    parser.add_argument("--report-every", type=int, default=25, help="steps of a stage between looks at what is right")
    parser.add_argument("--start", choices=["circuits", "random"], default="circuits")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each (CPU)")
    parser.add_argument("--nice", type=int, default=0, help="lowers the priority of the processes (CPU)")
    parser.add_argument("--resume", help="folder with the weights of an earlier run; AdamW's moments start anew")
    parser.add_argument("--stage", type=int, default=0, help="the first stage, an index of STAGES (with --resume)")
    parser.add_argument("--tiny", action="store_true", help="four narrow layers and the first two stages")
    Trainer(parser.parse_args()).run()


if __name__ == "__main__":
    main()
