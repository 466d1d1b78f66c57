"""The networks that the engine is timed on: one function a network, random weights, and a batch of a fixed shape.

Each returns (model in eval mode, loss function, inputs, targets); targets are what the loss function takes.
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Problem = tuple[nn.Module, Callable[[Any, Any], Tensor], Any, Any]
CLASSES = 10


def of_classes(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of each example."""
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def of_tokens(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy over the positions of each example, outputs [n, t, vocabulary]."""
    return nn.functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(1)


def of_pooled(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of the mean over positions, outputs [n, t, d >= 10]."""
    return of_classes(outputs.mean(1)[:, :CLASSES], targets)


def _images(model: nn.Module, n: int, *shape: int) -> Problem:
    return model, of_classes, torch.randn(n, *shape), torch.randint(0, CLASSES, (n,))


def resnet18() -> Problem:
    """ResNet-18 with a 3x3 stem and no max pool, 32 images of 3x32x32."""
    from torchvision.models import resnet18 as build

    model = build(num_classes=CLASSES)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return _images(model, 32, 3, 32, 32)


def vgg13_bn() -> Problem:
    """VGG-13 with batch norm and one linear layer as its classifier, 32 images of 3x32x32."""
    from torchvision.models import vgg13_bn as build

    model = build(num_classes=CLASSES)
    model.avgpool, model.classifier = nn.Identity(), nn.Linear(512, CLASSES)
    return _images(model, 32, 3, 32, 32)


def resnet50() -> Problem:
    """torchvision's, 32 images of 3x64x64."""
    from torchvision.models import resnet50 as build

    return _images(build(num_classes=CLASSES), 32, 3, 64, 64)


def mobilenet_v2() -> Problem:
    """torchvision's, 32 images of 3x64x64."""
    from torchvision.models import mobilenet_v2 as build

    return _images(build(num_classes=CLASSES), 32, 3, 64, 64)


def efficientnet_b0() -> Problem:
    """torchvision's, 32 images of 3x64x64."""
    from torchvision.models import efficientnet_b0 as build

    return _images(build(num_classes=CLASSES), 32, 3, 64, 64)


def convnext_tiny() -> Problem:
    """torchvision's, 16 images of 3x64x64."""
    from torchvision.models import convnext_tiny as build

    return _images(build(num_classes=CLASSES), 16, 3, 64, 64)


def vit() -> Problem:
    """A vision transformer of 6 layers of width 192, 32 images of 3x32x32 in patches of 4."""
    from torchvision.models import VisionTransformer

    model = VisionTransformer(32, 4, 6, 3, 192, 768, num_classes=CLASSES)
    nn.init.normal_(model.heads.head.weight, std=0.02)  # torchvision's zeros would leave all other gradients zero
    return _images(model, 32, 3, 32, 32)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        query, key, value = self.qkv(self.before(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, width))
        found: Tensor = x + self.down(nn.functional.gelu(self.up(self.between(x))))
        return found


class _Gpt(nn.Module):
    def __init__(self, vocabulary: int, length: int, width: int, layers: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*[_Block(width, 4) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        logits: Tensor = self.head(self.norm(self.blocks(x)))
        return logits


def gpt() -> Problem:
    """A GPT of 4 layers of width 256 with its head tied to the embedding of 2,048 tokens, 16 texts of 128."""
    tokens = torch.randint(0, 2048, (16, 129))
    return _Gpt(2048, 128, 256, 4), of_tokens, tokens[:, :-1], tokens[:, 1:]


class _Encoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        found: Tensor = self.head(self.encoder(x, src_key_padding_mask=padding)[:, 0])
        return found


def _encoder(width: int, positions: int) -> Problem:
    padding = torch.arange(positions) >= torch.randint(positions // 2, positions + 1, (32, 1))
    inputs = (torch.randn(32, positions, width), padding)
    return _Encoder(width), of_classes, inputs, torch.randint(0, CLASSES, (32,))


def encoder_padding() -> Problem:
    """nn.TransformerEncoder, 2 layers of width 64, 32 texts of 24 positions of which up to half are padding."""
    return _encoder(64, 24)


def encoder_wide() -> Problem:
    """The same of width 256, with texts of 64."""
    return _encoder(256, 64)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, mask: Tensor) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.attention(x, x, x, attn_mask=self.mask, need_weights=False)[0]
        return found


def _attention(width: int, heads: int, mask: Tensor) -> Problem:
    model = _Attention(width, heads, mask)
    return model, of_pooled, torch.randn(32, len(mask), width), torch.randint(0, CLASSES, (32,))


def attention_causal() -> Problem:
    """nn.MultiheadAttention of width 64 with a causal mask of bool, 32 texts of 24."""
    return _attention(64, 4, torch.ones(24, 24).triu(1).bool())


def attention_float() -> Problem:
    """The same with a mask of floating point numbers, added to the scores."""
    return _attention(64, 4, torch.randn(24, 24))


def attention_wide() -> Problem:
    """nn.MultiheadAttention of width 256 with a causal mask of bool, 32 texts of 64."""
    return _attention(256, 8, torch.ones(64, 64).triu(1).bool())


class _Logits(nn.Module):
    """A model of `transformers` with its first output as output."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, **given: Tensor) -> Tensor:
        found: Tensor = self.inner(**given).logits
        return found


def hf_gpt2() -> Problem:
    """GPT-2 of transformers, tied, 2 layers of width 64, 16 texts of 32 tokens out of 512."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_layer=2, n_embd=64, n_head=4, vocab_size=512, n_positions=64, use_cache=False)
    return _language_model(GPT2LMHeadModel(config))


def hf_llama() -> Problem:
    """Llama of transformers, 2 layers of width 64, 16 texts of 32 tokens out of 512."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        num_hidden_layers=2, hidden_size=64, intermediate_size=172, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=512, max_position_embeddings=64, use_cache=False, tie_word_embeddings=True,
    )  # fmt: skip
    return _language_model(LlamaForCausalLM(config))


def _language_model(model: nn.Module) -> Problem:
    tokens = torch.randint(0, 512, (16, 33))
    return _Logits(model), of_tokens, {"input_ids": tokens[:, :-1]}, tokens[:, 1:]


def hf_bert() -> Problem:
    """BERT of transformers as a classifier, 2 layers of width 64, 16 texts of 32 with a padding mask."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        num_hidden_layers=2, hidden_size=64, intermediate_size=256, num_attention_heads=4, vocab_size=512,
        max_position_embeddings=64, num_labels=CLASSES,
    )  # fmt: skip
    mask = (torch.arange(32) < torch.randint(16, 33, (16, 1))).long()
    inputs = {"input_ids": torch.randint(0, 512, (16, 32)), "attention_mask": mask}
    return _Logits(BertForSequenceClassification(config)), of_classes, inputs, torch.randint(0, CLASSES, (16,))


def hf_t5() -> Problem:
    """T5 of transformers, 2 layers of width 64, 16 texts of 32 tokens to 16."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(num_layers=2, d_model=64, d_kv=16, d_ff=256, num_heads=4, vocab_size=512, use_cache=False)
    inputs = {"input_ids": torch.randint(0, 512, (16, 32)), "decoder_input_ids": torch.randint(0, 512, (16, 16))}
    return _Logits(T5ForConditionalGeneration(config)), of_tokens, inputs, torch.randint(0, 512, (16, 16))


class _Recurrent(nn.Module):
    def __init__(self, recurrent: nn.RNNBase) -> None:
        super().__init__()
        self.recurrent, self.head = recurrent, nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.recurrent(x)[0][:, -1])
        return found


def lstm() -> Problem:
    """nn.LSTM of 32 inputs and 64 units, 32 sequences of 24."""
    return _images(_Recurrent(nn.LSTM(32, 64, batch_first=True)), 32, 24, 32)


def gru() -> Problem:
    """nn.GRU, likewise."""
    return _images(_Recurrent(nn.GRU(32, 64, batch_first=True)), 32, 24, 32)


def rnn() -> Problem:
    """nn.RNN, likewise."""
    return _images(_Recurrent(nn.RNN(32, 64, batch_first=True)), 32, 24, 32)


def mlp() -> Problem:
    """Three hidden layers of 256, 100 vectors of 784."""
    widths = (784, 256, 256, 256)
    hidden = [layer for d, p in itertools.pairwise(widths) for layer in (nn.Linear(d, p), nn.ReLU())]
    return _images(nn.Sequential(*hidden, nn.Linear(256, CLASSES)), 100, 784)


def small_cnn() -> Problem:
    """Three convolutions of 16, 16 and 32 channels with batch norm, 180 images of 1x8x8."""
    layers: list[nn.Module] = []
    for before, channels in itertools.pairwise((1, 16, 16, 32)):
        layers += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
    return _images(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES)), 180, 1, 8, 8)


class _Decoder(nn.Module):
    """Three layers that look at a context by cross attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        self.decoder, self.head = nn.TransformerDecoder(layer, 3), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        found: Tensor = self.head(self.decoder(x, context).mean(1))
        return found


def decoder() -> Problem:
    """A decoder of three layers of width 128 with cross attention, 16 sequences of 32 beside 48."""
    inputs = torch.randn(16, 32, 128), torch.randn(16, 48, 128)
    return _Decoder(128), of_classes, inputs, torch.randint(0, CLASSES, (16,))


class _GroupedQueries(nn.Module):
    """Attention of eight queries that share two keys, and a gated layer, each behind a norm of its own writing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k, self.v = nn.Linear(width, width // 4, bias=False), nn.Linear(width, width // 4, bias=False)
        self.gate, self.up = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, 3 * width, bias=False)
        self.down = nn.Linear(3 * width, width, bias=False)
        self.before, self.between = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self._normalised(x, self.before)
        size = x.shape[-1] // 8
        query, key, value = (
            part.unflatten(-1, (-1, size)).transpose(1, 2) for part in (self.q(y), self.k(y), self.v(y))
        )
        key, value = (part.repeat_interleave(4, 1) for part in (key, value))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.o(mixed.transpose(1, 2).flatten(2))
        y = self._normalised(x, self.between)
        found: Tensor = x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))
        return found

    @staticmethod
    def _normalised(x: Tensor, gain: Tensor) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * (1 + gain)


def grouped_queries() -> Problem:
    """A language model of two such layers of width 128, 512 tokens, 8 texts of 96."""
    model = nn.Sequential(nn.Embedding(512, 128), _GroupedQueries(128), _GroupedQueries(128), nn.Linear(128, 512))
    return model, of_tokens, torch.randint(0, 512, (8, 96)), torch.randint(0, 512, (8, 96))


class _Pairs(nn.Module):
    """Both pictures of a pair through the same ResNet-18, in one batch of twice as many."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet18

        self.network = resnet18(num_classes=64)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.network(x.flatten(0, 1)).unflatten(0, (-1, 2)).unbind(1)
        found: Tensor = self.head((one - other).abs())
        return found


def pairs() -> Problem:
    """16 pairs of pictures of 3x64x64."""
    return _images(_Pairs(), 16, 2, 3, 64, 64)


def weight_norm() -> Problem:
    """Four convolutions of 64 channels with weight norm, 16 images of 3x32x32."""
    layers: list[nn.Module] = []
    for before in (3, 64, 64, 64):
        layers += [nn.utils.parametrizations.weight_norm(nn.Conv2d(before, 64, 3, padding=1)), nn.ReLU()]
    return _images(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES)), 16, 3, 32, 32)


def swin_v2() -> Problem:
    """Swin-v2 with layers (2, 2, 2), whose biases of positions a network makes, 16 images of 3x64x64."""
    from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

    model = SwinTransformer(
        [4, 4], 48, [2, 2, 2], [3, 6, 12], [4, 4], num_classes=CLASSES, block=SwinTransformerBlockV2,
        downsample_layer=PatchMergingV2,
    )  # fmt: skip
    return _images(model, 16, 3, 64, 64)


class _Segmented(nn.Module):
    """The mean over a picture of what a network says of each of its places."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x)["out"].mean((2, 3))
        return found


def deeplab() -> Problem:
    """DeepLab-v3 on MobileNet-v3 with its dilations of 12 to 36, 8 images of 3x64x64."""
    from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

    network = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)
    return _images(_Segmented(network), 8, 3, 64, 64)


# name: (function, what a batch of a long sweep and a call of 12 batches may cost against plain passes)
NETWORKS: dict[str, tuple[Callable[[], Problem], float, float]] = {
    "resnet18": (resnet18, 1.15, 1.20),
    "vgg13_bn": (vgg13_bn, 1.15, 1.20),
    "resnet50": (resnet50, 1.25, 1.30),
    "mobilenet_v2": (mobilenet_v2, 1.30, 1.40),
    "efficientnet_b0": (efficientnet_b0, 1.30, 1.40),
    "convnext_tiny": (convnext_tiny, 1.20, 1.25),
    "vit": (vit, 1.20, 1.25),
    "gpt": (gpt, 1.15, 1.20),
    "encoder_padding": (encoder_padding, 1.30, 1.35),
    "encoder_wide": (encoder_wide, 1.30, 1.35),
    "attention_causal": (attention_causal, 1.30, 1.35),
    "attention_float": (attention_float, 1.30, 1.35),
    "attention_wide": (attention_wide, 1.30, 1.35),
    "hf_gpt2": (hf_gpt2, 1.6, 1.6),
    "hf_llama": (hf_llama, 1.6, 1.6),
    "hf_bert": (hf_bert, 1.6, 1.6),
    "hf_t5": (hf_t5, 1.6, 1.6),
    "lstm": (lstm, 3.0, 3.0),
    "gru": (gru, 3.0, 3.0),
    "rnn": (rnn, 3.0, 3.0),
    "mlp": (mlp, 1.15, 1.35),
    "small_cnn": (small_cnn, 1.4, 1.6),
    "decoder": (decoder, 1.3, 1.35),
    "grouped_queries": (grouped_queries, 1.3, 1.35),
    "pairs": (pairs, 1.3, 1.35),
    "weight_norm": (weight_norm, 1.3, 1.35),
    "swin_v2": (swin_v2, 1.3, 1.35),
    "deeplab": (deeplab, 1.3, 1.35),
}


def problem(name: str) -> Problem:
    """A network, its loss function and a batch, with fixed random numbers.

    Batch norm has the running statistics of the batch: with those of a fresh network values vanish in depth.
    """
    torch.manual_seed(0)
    model, loss_fn, inputs, targets = NETWORKS[name][0]()
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if norms:
        for module in norms:
            module.momentum = 1.0
        with torch.no_grad():
            model.train()(inputs)
    return model.eval(), loss_fn, inputs, targets
