#!/usr/bin/env python3
"""Trains models/recall-small: a Qwen2 decoder of 10 M parameters that finds facts in contexts of up to 4k tokens.

  python3 training/train.py --out DIR --seconds 520            on one H100; writes DIR/config.json, weights, tokenizer
  python3 training/train.py --out DIR --seconds 20 --tiny      a dry run on a CPU

First the model learns to copy a random segment to a random later place; then recall in stages of growing length, moving
on when single facts are right, with a part of the steps from earlier stages; the loss is on the answers only. The rate
decays over the last quarter of the time. Whatever happens, the weights so far are written at the end.
"""
import argparse
import json
import math
import pathlib
import struct
import time

import torch
import torch.nn.functional as F
from torch import nn

import recall_data
import vocabulary as words

STAGES = [96, 256, 512, 1024, 2048, 4096]


class Shape:
    def __init__(self, vocab, tiny=False):
        self.vocab = vocab
        self.layers, self.hidden, self.heads, self.kv_heads, self.head_dim, self.ffn = (
            (4, 64, 2, 1, 32, 128) if tiny else (16, 256, 4, 2, 64, 640))
        self.theta, self.eps, self.max_positions = 10000.0, 1e-6, 5120


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        x32 = x.float()
        return (x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight).to(x.dtype)


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin


def attention(q, k, v):
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    # Debian 12's torch 1.13, for dry runs.
    logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    hidden = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).triu(1)
    return torch.softmax(logits.masked_fill(hidden, -math.inf), dim=-1) @ v


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.input_layernorm = Norm(s.hidden, s.eps)
        self.q_proj = nn.Linear(s.hidden, s.heads * s.head_dim)
        self.k_proj = nn.Linear(s.hidden, s.kv_heads * s.head_dim)
        self.v_proj = nn.Linear(s.hidden, s.kv_heads * s.head_dim)
        self.o_proj = nn.Linear(s.heads * s.head_dim, s.hidden, bias=False)
        self.post_attention_layernorm = Norm(s.hidden, s.eps)
        self.gate_proj = nn.Linear(s.hidden, s.ffn, bias=False)
        self.up_proj = nn.Linear(s.hidden, s.ffn, bias=False)
        self.down_proj = nn.Linear(s.ffn, s.hidden, bias=False)

    def forward(self, x, cos, sin):
        s, (batch, tokens, _) = self.s, x.shape
        normed = self.input_layernorm(x)
        heads = lambda y, count: y.view(batch, tokens, count, s.head_dim).transpose(1, 2)
        q, k, v = heads(self.q_proj(normed), s.heads), heads(self.k_proj(normed), s.kv_heads), heads(self.v_proj(normed), s.kv_heads)
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        repeat = s.heads // s.kv_heads
        k, v = k.repeat_interleave(repeat, dim=1), v.repeat_interleave(repeat, dim=1)
        mixed = attention(q, k, v).transpose(1, 2).reshape(batch, tokens, -1)
        x = x + self.o_proj(mixed)
        normed = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(normed)) * self.up_proj(normed))


class Decoder(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.embed = nn.Embedding(s.vocab, s.hidden)
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.layers))
        self.norm = Norm(s.hidden, s.eps)
        frequencies = s.theta ** (-torch.arange(0, s.head_dim, 2).float() / s.head_dim)
        angles = torch.outer(torch.arange(s.max_positions).float(), frequencies)
        self.register_buffer("cos", torch.cat([angles.cos(), angles.cos()], -1), persistent=False)
        self.register_buffer("sin", torch.cat([angles.sin(), angles.sin()], -1), persistent=False)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                scale = 0.02 / math.sqrt(2 * s.layers) if "o_proj" in name or "down_proj" in name else 0.02
                nn.init.normal_(parameter, std=scale)

    def forward(self, ids):
        x = self.embed(ids)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)

    def logits(self, states):
        return F.linear(states, self.embed.weight)


class Trainer:
    def __init__(self, options):
        torch.manual_seed(options.seed)
        self.options, self.start = options, time.time()
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_float32_matmul_precision("high")
        self.vocabulary = words.Vocabulary()
        self.documents = recall_data.Documents(self.vocabulary, self.device)
        # A vocabulary of whole multiples of 64 makes the matrix products faster.
        self.shape = Shape((self.vocabulary.size + 63) // 64 * 64, options.tiny)
        self.model = Decoder(self.shape).to(self.device)
        if options.resume:
            self.model.load_state_dict(torch.load(options.resume, map_location=self.device))
        decayed = [p for p in self.model.parameters() if p.dim() == 2]
        others = [p for p in self.model.parameters() if p.dim() != 2]
        self.optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
                                           lr=options.rate, betas=(0.9, 0.95))
        if self.device == "cuda":
            for layer in self.model.layers:
                layer.compile()
        self.steps = 0
        self.batch_tokens = 2048 if options.tiny else options.batch_tokens

    def elapsed(self):
        return time.time() - self.start

    def rate(self):
        share = self.elapsed() / self.options.seconds
        decay = min(1.0, max(0.02, (1 - share) / 0.25))
        return self.options.rate * min(1.0, (self.steps + 1) / 200) * decay

    def states(self, ids):
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.device == "cuda"):
            return self.model(ids)

    def step(self, ids, targets):
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        wanted = targets >= 0
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.device == "cuda"):
            logits = self.model.logits(self.model(ids)[wanted])
        loss = F.cross_entropy(logits.float(), targets[wanted])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.steps += 1
        return logits, targets[wanted], loss

    def draw(self, length, batch=None):
        questions = 8 if length <= 96 else 16 if length <= 512 else 40
        batch = batch or max(2, self.batch_tokens // (length + 19 * questions))
        drawn = self.documents.draw(batch, length, questions)
        ids, targets, _ = recall_data.training_rows(drawn, self.vocabulary)
        size = length + 19 * questions  # one size a stage, whatever kinds were drawn: compiled once
        keep = min(size, ids.shape[1])
        ids = F.pad(ids[:, :keep], (0, size - keep), value=self.vocabulary.end_id)
        return ids, F.pad(targets[:, :keep], (0, size - keep), value=-100), drawn

    def copy_stage(self, limit):
        length, right = 256, 0.0
        while self.elapsed() < limit:
            ids, targets = recall_data.copy_rows(self.vocabulary, max(2, self.batch_tokens // length), length, self.device)
            logits, answers, loss = self.step(ids, targets)
            if self.steps % 50 == 0:
                right = (logits.argmax(-1) == answers).float().mean().item()
                print(f"copy step {self.steps} {self.elapsed():.0f} s loss {loss.item():.3f} right {right:.3f}", flush=True)
                if right > 0.97:
                    return

    @torch.no_grad()
    def accuracy(self, length, batches=1):
        """Share of right answers by kind."""
        right, seen = torch.zeros(4), torch.zeros(4)
        for _ in range(batches):
            ids, targets, drawn = self.draw(length)
            wanted = targets >= 0
            with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.device == "cuda"):
                chosen = self.model.logits(self.model(ids)[wanted]).argmax(-1)
            hit = (chosen == targets[wanted]).cpu()
            order = torch.full_like(targets, -1)
            # Answers stand in order of the questions of each row; some may have been cut off.
            for row in range(ids.shape[0]):
                places = wanted[row].nonzero()[:, 0]
                order[row, places] = drawn["kinds"][row, : len(places)]
            kinds = order[wanted].cpu()
            for kind in range(4):
                right[kind] += hit[kinds == kind].sum()
                seen[kind] += (kinds == kind).sum()
        return [(r / n).item() if n > 0 else float("nan") for r, n in zip(right, seen)]

    def recall_stages(self):
        stage = 0
        print(f"recall from {self.elapsed():.0f} s", flush=True)
        stages = STAGES[:2] if self.options.tiny else STAGES
        while self.elapsed() < self.options.seconds:
            length = stages[stage]
            if stage > 0 and self.steps % 4 == 0:
                length = stages[int(torch.randint(stage, ()))]
            ids, targets, _ = self.draw(length)
            _, _, loss = self.step(ids, targets)
            if self.steps % (50 if stage < 4 else 25) == 0:
                by_kind = self.accuracy(stages[stage])
                print(f"stage {stages[stage]} step {self.steps} {self.elapsed():.0f} s loss {loss.item():.3f} right "
                      + " ".join(f"{kind} {value:.3f}" for kind, value in zip(recall_data.KINDS, by_kind)), flush=True)
                if by_kind[0] > 0.96 and stage + 1 < len(stages):
                    stage += 1

    def run(self):
        if not self.options.resume:
            self.copy_stage(0.25 * self.options.seconds)
        self.recall_stages()
        for length in STAGES[:2] if self.options.tiny else STAGES:
            print(f"final {length}", [round(value, 4) for value in self.accuracy(length, 8)], flush=True)
        save(self.model, self.options.out)
        torch.save(self.model.state_dict(), pathlib.Path(self.options.out) / "resume.pt")


def weights_of(model):
    yield "model.embed_tokens.weight", model.embed.weight
    for index, layer in enumerate(model.layers):
        for name, parameter in layer.named_parameters():
            part = name.split(".")[0]
            folder = "self_attn." if part[1:] == "_proj" else "mlp." if part.endswith("_proj") else ""
            yield f"model.layers.{index}.{folder}{name}", parameter
    yield "model.norm.weight", model.norm.weight


def write_safetensors(path, tensors):
    header, data, offset = {}, [], 0
    for name, tensor in tensors:
        raw = tensor.detach().to(torch.bfloat16).contiguous().cpu().view(torch.int16).numpy().tobytes()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
        data.append(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def save(model, out, shards=2):
    out, s = pathlib.Path(out), model.s
    out.mkdir(parents=True, exist_ok=True)
    tensors, index, total = list(weights_of(model)), {}, 0
    per_shard = math.ceil(sum(t.numel() for _, t in tensors) / shards)
    parts, filled = [[]], 0
    for name, tensor in tensors:
        if filled + tensor.numel() > per_shard * 1.02 and len(parts) < shards:
            parts.append([])
            filled = 0
        parts[-1].append((name, tensor))
        filled += tensor.numel()
        total += 2 * tensor.numel()
    for number, part in enumerate(parts):
        file = f"model-{number + 1:05}-of-{len(parts):05}.safetensors"
        write_safetensors(out / file, part)
        index.update({name: file for name, _ in part})
    write = lambda name, value: (out / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    write("model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index})
    end = words.Vocabulary().end_id
    write("config.json", {
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": end, "eos_token_id": end,
        "hidden_act": "silu", "hidden_size": s.hidden, "initializer_range": 0.02, "intermediate_size": s.ffn,
        "max_position_embeddings": s.max_positions, "max_window_layers": s.layers, "model_type": "qwen2",
        "num_attention_heads": s.heads, "num_hidden_layers": s.layers, "num_key_value_heads": s.kv_heads,
        "rms_norm_eps": s.eps, "rope_theta": s.theta, "sliding_window": None, "tie_word_embeddings": True,
        "torch_dtype": "bfloat16", "use_cache": True, "use_sliding_window": False, "vocab_size": s.vocab})
    write("generation_config.json", {"bos_token_id": end, "eos_token_id": end, "do_sample": False})
    write("tokenizer.json", words.build_tokenizer())
    write("tokenizer_config.json", {"model_max_length": s.max_positions, "tokenizer_class": "PreTrainedTokenizerFast",
                                    "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seconds", type=float, default=520)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--batch-tokens", type=int, default=1 << 17)
    parser.add_argument("--resume", help="resume.pt of an earlier run: skips the copy stage")
    parser.add_argument("--tiny", action="store_true", help="a model that a CPU can train for a few steps")
    Trainer(parser.parse_args()).run()


if __name__ == "__main__":
    main()
