"""Which texts agree with the rest? A small GPT on the pages of Python's own help.

python examples/small_gpt.py
"""

from pydoc_data.topics import topics

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mcoherence import CoherenceMonitor, ExampleStatistics, example_statistics

LENGTH, WIDTH = 32, 64


class GPT(nn.Module):
    """Logits of the next character at every place, from the characters up to it."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, WIDTH), nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """[n, LENGTH] -> [n, LENGTH, vocabulary]."""
        x = self.token(tokens) + self.place(torch.arange(LENGTH, device=tokens.device))
        causal = nn.Transformer.generate_square_subsequent_mask(LENGTH, device=tokens.device)
        return self.head(self.blocks(x, mask=causal, is_causal=True))


def loss_of_texts(logits: Tensor, targets: Tensor) -> Tensor:
    """One loss a text, [n]: the sum over its characters, so that no text depends on how long the others are."""
    return F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").sum(dim=1)


def main(steps: int = 64) -> ExampleStatistics:
    """Train for some steps with a monitor, and print which of the texts agree with the rest at the end."""
    torch.manual_seed(0)
    text = "".join(topics.values())[: 256 * (LENGTH + 1)]
    characters = sorted(set(text))
    texts = torch.tensor([characters.index(one) for one in text]).view(256, LENGTH + 1)
    inputs, targets = texts[:, :-1], texts[:, 1:]

    model = GPT(len(characters))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    watched = inputs[:64], targets[:64]
    monitor = CoherenceMonitor(model, loss_of_texts, watched, every={"every_step_until": 1, "per_doubling": 1})
    monitor(0)
    for step in range(1, steps + 1):
        chosen = torch.randint(0, 256, (32,))
        optimizer.zero_grad()
        (loss_of_texts(model(inputs[chosen]), targets[chosen]).mean() / LENGTH).backward()
        optimizer.step()
        monitor(step)
    print(monitor.history[["step", "m_coherence", "alpha"]].round(3).to_string(index=False))

    examples = example_statistics(model, loss_of_texts, [watched], along="sum", leave_one_out=True)
    print(f"{examples.share_helped('sum'):.0%} of the texts are helped by a step for all others")
    order = examples.dot["sum"].argsort()
    for heading, chosen in (("least", order[:5]), ("most", order[-5:])):
        print(f"Those that agree {heading} with the rest:")
        for i in chosen:
            print(f"{examples.dot['sum'][i]:10.0f}  {''.join(characters[c] for c in texts[i])!r}")
    return examples


if __name__ == "__main__":
    main()
