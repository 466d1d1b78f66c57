"""Gradient statistics of many networks against plain passes, memory against the plan, and jobs that share a GPU.

A part of gpu.py. Every network of the table is measured at one batch; the row says

    a batch     one more batch of a sweep against a plain forward and backward pass: the slope between two calls
    a call      of twelve batches, its checks and set-up included, against twelve plain passes
    peak        of memory, and what it is against that of a plain pass
    waits       of the program for the GPU, a batch and a call, as torch counts them; on a GPU alone
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from gpu_timing import CUT, PER_EXAMPLE, allow_tf32, failure, free, in_turns, mebibytes, median_ratio, peak_of
from torch import Tensor, nn
from torchvision import models

from mcoherence import gradient_statistics
from mcoherence.models import build_model
from mcoherence.models.memory import example_bytes

Row = dict[str, Any]
Left = Callable[[], float]
Loss = Callable[[Any, Tensor], Tensor]
ROOT = Path(__file__).resolve().parents[1]
BATCH, FEW, MANY, CALL = 256, 1, 4, 12  # examples; batches of the calls that are timed, and of the one that is told
MOST_MEMORY = 1.3  # of a plain pass's


@dataclass(frozen=True)
class Entry:
    """A network of the table.

    build: makes it, with random weights.
    inputs: of so many examples, on the processor.
    targets: of so many examples.
    loss: (outputs, targets) -> losses [n].
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[int], Any]
    targets: Callable[[int], Tensor] = lambda n: torch.randint(0, 10, (n,))
    loss: Loss = PER_EXAMPLE


def images(*shape: int) -> Callable[[int], Tensor]:
    """Random images of a shape."""
    return lambda n: torch.randn(n, *shape)


def tokens(positions: int, vocabulary: int) -> Callable[[int], Tensor]:
    """Random sentences."""
    return lambda n: torch.randint(0, vocabulary, (n, positions))


def resnet18() -> nn.Module:
    """ResNet-18 as for images of 32 by 32."""
    model = models.resnet18(num_classes=10)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return model


def vgg13_bn() -> nn.Module:
    """VGG-13 with batch norm as for images of 32 by 32."""
    model = models.vgg13_bn(num_classes=10)
    model.avgpool, model.classifier = nn.Identity(), nn.Linear(512, 10)
    return model


def vit() -> nn.Module:
    """A vision transformer of 6 layers, 192 wide, on images of 32 by 32 in patches of 4."""
    model = models.VisionTransformer(32, 4, 6, 3, 192, 768, num_classes=10)
    nn.init.normal_(model.heads.head.weight, std=0.02)
    return model


def mlp() -> nn.Module:
    """Three layers of 256."""
    layers = [nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(256, 10))


def cnn() -> nn.Module:
    """A small network for digits of 8 by 8."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


class Block(nn.Module):
    """A block of a language model, its attention written by the function of torch."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[n, t, width] of the same."""
        n, t, width = x.shape
        q, k, v = self.qkv(self.first(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, width))
        return x + self.down(F.gelu(self.up(self.second(x))))


class Gpt(nn.Module):
    """A language model whose head is its table of tokens."""

    def __init__(self, layers: int = 4, width: int = 256, positions: int = 128, vocabulary: int = 512) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(vocabulary, width), nn.Parameter(0.02 * torch.randn(positions, width))
        self.blocks = nn.Sequential(*(Block(width, 4) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, t, vocabulary] of tokens [n, t]."""
        return self.head(self.norm(self.blocks(self.embed(x) + self.position[: x.shape[1]])))


def loss_of_sentence(outputs: Any, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the tokens of each sentence, [n]."""
    logits = outputs if isinstance(outputs, Tensor) else outputs.logits
    return F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").mean(dim=1)


class Masked(nn.Module):
    """An encoder, or attention alone, with a mask of one of three kinds, and a head."""

    def __init__(self, kind: str, width: int = 128, positions: int = 32) -> None:
        super().__init__()
        self.kind, self.embed = kind, nn.Embedding(100, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True, norm_first=True)
        if kind == "padding":
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        else:
            self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        above = torch.ones(positions, positions, dtype=torch.bool).triu(1)
        self.register_buffer("mask", above if kind == "causal" else torch.randn(positions, positions))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, 10] of tokens [n, t], of which 0 is padding."""
        h = self.embed(x)
        if self.kind == "padding":
            h = self.encoder(h, src_key_padding_mask=x == 0)
        else:
            h = self.attention(h, h, h, attn_mask=self.mask, need_weights=False)[0]
        return self.head(h.mean(dim=1))


class Recurrent(nn.Module):
    """A recurrent layer over a sequence, and a head on its last state."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embed, self.layer, self.head = nn.Embedding(100, 64), kind(64, 128, batch_first=True), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, 10] of tokens [n, t]."""
        return self.head(self.layer(self.embed(x))[0][:, -1])


def of_hugging_face(name: str) -> Callable[[], nn.Module]:
    """Makes a tiny random network of transformers."""

    def build() -> nn.Module:
        import transformers as hf

        small = {"vocab_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
        if name == "GPT-2":
            return hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=512, n_positions=64, n_embd=128, n_layer=2, n_head=4))
        if name == "Llama":
            return hf.LlamaForCausalLM(hf.LlamaConfig(hidden_size=128, intermediate_size=256, **small))
        if name == "BERT":
            return hf.BertForMaskedLM(hf.BertConfig(hidden_size=128, intermediate_size=256, **small))
        config = hf.T5Config(vocab_size=512, d_model=128, d_kv=32, d_ff=256, num_layers=2, num_heads=4)
        return _EncoderAndDecoder(hf.T5ForConditionalGeneration(config))

    return build


class _EncoderAndDecoder(nn.Module):
    """T5 that reads what it is to write."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        return self.model(input_ids=x, decoder_input_ids=x)


HUGGING_FACE = ("GPT-2", "Llama", "BERT", "T5")
SENTENCES = {"targets": tokens(64, 512), "loss": loss_of_sentence}
TABLE = {
    "ResNet-18, 3x3 stem, 32": Entry(resnet18, images(3, 32, 32)),
    "VGG-13-bn, 32": Entry(vgg13_bn, images(3, 32, 32)),
    "ResNet-50, 64": Entry(lambda: models.resnet50(num_classes=10), images(3, 64, 64)),
    "MobileNet-v2, 64": Entry(lambda: models.mobilenet_v2(num_classes=10), images(3, 64, 64)),
    "EfficientNet-B0, 64": Entry(lambda: models.efficientnet_b0(num_classes=10), images(3, 64, 64)),
    "ConvNeXt-tiny, 64": Entry(lambda: models.convnext_tiny(num_classes=10), images(3, 64, 64)),
    "ViT 6 x 192": Entry(vit, images(3, 32, 32)),
    "GPT 4 x 256, tied, t 128": Entry(Gpt, tokens(128, 512), tokens(128, 512), loss_of_sentence),
    "encoder, padding mask": Entry(lambda: Masked("padding"), tokens(32, 100)),
    "attention, causal mask": Entry(lambda: Masked("causal"), tokens(32, 100)),
    "attention, float mask": Entry(lambda: Masked("float"), tokens(32, 100)),
    "LSTM": Entry(lambda: Recurrent(nn.LSTM), tokens(32, 100)),
    "GRU": Entry(lambda: Recurrent(nn.GRU), tokens(32, 100)),
    "RNN": Entry(lambda: Recurrent(nn.RNN), tokens(32, 100)),
    "MLP 3 x 256": Entry(mlp, images(1, 28, 28)),
    "small CNN, 8": Entry(cnn, images(1, 8, 8)),
    **{f"{name}, tiny": Entry(of_hugging_face(name), tokens(64, 512), **SENTENCES) for name in HUGGING_FACE},
    "ResNet-50, 224": Entry(models.resnet50, images(3, 224, 224), lambda n: torch.randint(0, 1000, (n,))),
}
SMALL_TABLE = ("small CNN, 8", "attention, float mask", "LSTM", "GPT-2, tiny")


def table(device: torch.device, left: Left, small: bool) -> Iterator[Row]:
    """A row for each network, in float32 first, then in TF32 where the device has it."""
    names = SMALL_TABLE if small else tuple(TABLE)
    precisions = {"float32": False} | ({"TF32": True} if device.type == "cuda" else {})
    plans = [(name, precision) for precision in precisions for name in names]
    for number, (name, precision) in enumerate(plans):
        row: Row = {"case": name, "setting": f"{precision}, batch {8 if small else BATCH}"}
        # A quarter more than an equal share: what one network leaves is the next ones'.
        share = 1.25 * left() / (len(plans) - number)
        end = time.monotonic() + min(share, left())
        if left() < 3.0:
            yield row | {"passed": None, "result": "", "note": CUT}
            continue
        allow_tf32(precisions[precision])
        try:
            yield row | _measured(TABLE[name], 8 if small else BATCH, device, lambda end=end: end - time.monotonic())
        except ImportError as error:
            yield row | {"passed": None, "result": "", "note": f"not installed ({error})"}
        except Exception as error:
            yield row | {"result": ""} | failure(error)
        finally:
            allow_tf32(False)
        free(device)


def _measured(entry: Entry, batch: int, device: torch.device, left: Left) -> Row:
    """What a network takes at a batch, or at the largest of its halves that has room."""
    while True:
        try:
            return _measured_at(entry, batch, device, left)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        free(device)
        batch //= 2


def _measured_at(entry: Entry, batch: int, device: torch.device, left: Left) -> Row:
    torch.manual_seed(0)
    model = entry.build().eval().to(device)
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            module.train()  # cuDNN has no backward pass of them in eval mode; they have no dropout
    inputs, targets = entry.inputs(batch).to(device), entry.targets(batch).to(device)
    parameters, tf32 = [p for p in model.parameters() if p.requires_grad], torch.backends.cuda.matmul.allow_tf32

    def plain() -> tuple[Tensor, ...]:
        return torch.autograd.grad(entry.loss(model(inputs), targets).sum(), parameters)

    def ours(count: int) -> Any:
        return gradient_statistics(model, entry.loss, [(inputs, targets)] * count, tf32=tf32)

    plain()  # what the device's libraries take at their first call
    first = ours(FEW)
    squared = sum(float(gradient.double().square().sum()) for gradient in plain())
    difference = abs(first.sq_norm_of_sum() - squared) / squared
    _, peak_plain = peak_of(plain, device)
    _, peak = peak_of(lambda: ours(MANY), device)
    waits = {count: waits_of(lambda count=count: ours(count), device) for count in (FEW, MANY)}
    runs = {"plain": plain, "few": lambda: ours(FEW), "many": lambda: ours(MANY)}
    seconds = in_turns(runs, device, left)
    slopes = [(m - f) / (MANY - FEW) for f, m in zip(seconds["few"], seconds["many"], strict=True)]
    calls = [(f + (CALL - FEW) * slope) / CALL for f, slope in zip(seconds["few"], slopes, strict=True)]
    of_batch, of_call = median_ratio(slopes, seconds["plain"]), median_ratio(calls, seconds["plain"])
    memory = None if peak is None or not peak_plain else peak / peak_plain
    said = [f"plain {1e3 * statistics.median(seconds['plain']):.2f} ms, a batch {of_batch:.2f}, a call {of_call:.2f}"]
    if memory is not None:
        said.append(f"peak {mebibytes(peak)}, {memory:.2f} of plain")
    if waits[FEW] is not None and waits[MANY] is not None:
        waits_a_batch = (waits[MANY] - waits[FEW]) / (MANY - FEW)
        said.append(f"waits {waits_a_batch:g} a batch and {waits[FEW] - FEW * waits_a_batch:g} a call")
    routed = first.evidence.by_whole_model
    notes = [f"batch {batch}", f"|S|^2 differs by {difference:.1e}"]
    notes += [f"{len(routed)} parameters through the whole model"] if routed else []
    return {
        "batch": batch, "seconds_plain": statistics.median(seconds["plain"]), "ratio_of_a_batch": of_batch,
        "ratio_of_a_call": of_call, "turns": len(slopes), "peak_bytes": peak, "peak_bytes_plain": peak_plain,
        "waits": {str(count): found for count, found in waits.items()}, "difference_of_squared_sum": difference,
        "by_whole_model": len(routed), "passed": difference < (2e-2 if tf32 else 1e-3),
        "note": "; ".join(notes), "result": "; ".join(said),
    }  # fmt: skip


def waits_of(run: Callable[[], Any], device: torch.device) -> int | None:
    """How often a run waits for the GPU, as torch counts it; None on a CPU."""
    if device.type != "cuda":
        return None
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    return sum("synchronizing CUDA operation" in str(one.message) for one in said)


# --- memory against the plan ------------------------------------------------------------------------------------------

# Networks of a study, with the shape of an image and the classes.
PLANNED = {
    "cnn": ({"architecture": "cnn", "channels": [12, 24], "hidden": 128}, (3, 32, 32), 10),
    "resnet18": ({"architecture": "resnet18"}, (3, 64, 64), 100),
    "resnet50": ({"architecture": "resnet50"}, (3, 224, 224), 1000),
    "vit_b_16": ({"architecture": "vit_b_16"}, (3, 224, 224), 1000),
}


def plan(device: torch.device, left: Left, small: bool) -> Iterator[Row]:
    """Rows of what a study plans for a batch (`example_bytes`), and what measuring it takes."""
    batch = 8 if small else 128
    for name, (settings, shape, classes) in list(PLANNED.items())[: 1 if small else None]:
        row: Row = {"case": name, "setting": f"float32, batch {batch}"}
        if left() < 5.0:
            yield row | {"passed": None, "result": "", "note": CUT}
            continue
        try:
            planned = batch * example_bytes(settings, shape, classes, "measure")
            torch.manual_seed(0)
            model = build_model(settings, shape, classes).eval().to(device)
            inputs, targets = torch.randn(batch, *shape).to(device), torch.randint(0, classes, (batch,)).to(device)
            run = lambda m=model, x=inputs, y=targets: gradient_statistics(m, PER_EXAMPLE, [(x, y)] * 2)  # noqa: E731
            run()
            _, peak = peak_of(run, device)
        except Exception as error:
            yield row | {"result": ""} | failure(error)
            continue
        against = "" if peak is None else f"{peak / planned:.2f} of it: "
        yield row | {
            "planned_bytes": planned, "peak_bytes": peak, "passed": None, "note": "",
            "result": f"planned {mebibytes(int(planned))}, {against}measured {mebibytes(peak)}",
        }  # fmt: skip
        del model, inputs, targets, run
        free(device)


# --- leases -----------------------------------------------------------------------------------------------------------


def leases(device: torch.device, left: Left, small: bool) -> Iterator[Row]:
    """Rows of two jobs that are started together, where one GPU takes one job at a time, and where it takes two."""
    alone: float | None = None
    for at_a_time in (1, 2):
        row: Row = {"case": "two jobs on one GPU", "setting": f"jobs_per_gpu {at_a_time}"}
        if left() < 20.0:
            yield row | {"passed": None, "result": "", "note": CUT}
            continue
        try:
            jobs = _two_jobs(device, at_a_time, small, left())
        except Exception as error:
            yield row | {"result": ""} | failure(error)
            continue
        together = max(one["start"] for one in jobs) < min(one["end"] for one in jobs)
        same = len({one["digest"] for one in jobs}) == 1
        on = sorted({one["gpu"] for one in jobs})
        whole = max(one["end"] for one in jobs) - min(one["start"] for one in jobs)
        alone = whole if alone is None else alone
        work = max(one["seconds"] for one in jobs)
        how = "at the same time" if together else "one after the other"
        said = f"{how} on {', '.join(on)}, {whole:.2f} s in all, {work:.2f} s a job's work"
        yield row | {
            "jobs": jobs, "seconds": whole, "passed": together == (at_a_time == 2) and same and len(on) == 1,
            "result": f"{said}, {whole / alone:.2f} of what they take one after the other; "
            f"{'the same bits' if same else 'OTHER BITS'}",
            "note": "",
        }  # fmt: skip


def _two_jobs(device: torch.device, at_a_time: int, small: bool, seconds: float) -> list[Row]:
    """What two jobs say of themselves that lease the same GPU as jobs of a study do."""
    with tempfile.TemporaryDirectory() as folder:
        places = {"TMPDIR": folder, "PYTHONPATH": str(ROOT)}  # locks of our own: other jobs' leases stay as they are
        one = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
        environment = {**os.environ, **places, "CUDA_VISIBLE_DEVICES": one}
        launch = [sys.executable, "-m", "workflow_scripts.jobs.launch", "--device", "cuda"]
        launch += ["--jobs-per-gpu", str(at_a_time), "--", sys.executable, str(Path(__file__).with_name("gpu.py"))]
        launch += ["--device", device.type, *["--small"] * small, "--lease-part"]
        files = [Path(folder, f"{number}.json") for number in range(2)]
        jobs = [subprocess.Popen([*launch, str(file)], cwd=ROOT, env=environment) for file in files]
        try:
            for job in jobs:
                if status := job.wait(timeout=max(1.0, seconds)):
                    raise RuntimeError(f"a job ended with status {status}")
        finally:
            for job in jobs:
                job.kill()
        return [json.loads(file.read_text()) for file in files]


def leased_job(path: Path, start: float, device: torch.device, small: bool) -> None:
    """One of the two jobs: measures, and writes since when it had its GPU, and which, and what came of it."""
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    model, batch = (cnn() if small else resnet18()).eval().to(device), 8 if small else BATCH
    shape = (1, 8, 8) if small else (3, 32, 32)
    batches = [(torch.randn(batch, *shape).to(device), torch.randint(0, 10, (batch,)).to(device)) for _ in range(4)]
    gradient_statistics(model, PER_EXAMPLE, batches[:1])
    begun, digest = time.time(), hashlib.sha256()
    for _ in range(3 if small else 12):
        found = gradient_statistics(model, PER_EXAMPLE, batches)
        digest.update(found.sum_sq_norms.tobytes() + found.gram.tobytes())
    end, gpu = time.time(), os.environ["CUDA_VISIBLE_DEVICES"]
    said = {"start": start, "end": end, "seconds": end - begun, "digest": digest.hexdigest(), "gpu": gpu}
    path.write_text(json.dumps(said))
