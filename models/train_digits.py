#!/usr/bin/env python3
"""Trains the example models digits-cnn and digits-vit, and writes their files.

    train_digits.py                       everything, in this order:
    train_digits.py digits-cnn            digits-cnn.onnx and digits-cnn.toml
    train_digits.py digits-vit            digits-vit.onnx and digits-vit.toml
    train_digits.py samples               samples/*.png (needs both models)

The data are the 8x8 handwritten digits that come with scikit-learn, enlarged and put
at random places on cluttered backgrounds. A digit is only ever used in one of three
sets: training, tuning (to choose settings; printed while training), and held-out
(measured after the last epoch, and the number on the card).
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HERE = Path(__file__).resolve().parent
SIZE = 48  # side of the images
TRAIN, TUNE = 1100, 197  # of 1,797 digits; the other 500 are held out
BACKGROUNDS = 4  # fresh backgrounds per held-out digit when measuring
MEAN, STD = 0.5, 0.25

# ---------------------------------------------------------------- data


def load(part):
    """Images in 0..1 [N, 8, 8] and labels of one of the three sets."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    train, tune, held_out = np.split(order, [TRAIN, TRAIN + TUNE])
    index = {"train": train, "tune": tune, "held-out": held_out}[part]
    images = torch.from_numpy(data.images[index] / 16).float()
    return images, torch.from_numpy(data.target[index])


def render(digits, seed, difficulty=1.0):
    """Puts each digit on its own background: uint8 [N, 48, 48], and the ink's mask.

    With difficulty 0 there are no blobs and strokes, and digits are in the middle.
    """
    g = torch.Generator().manual_seed(seed)
    n = len(digits)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(n, *shape, generator=g)

    def sign(*shape):  # -1 or 1
        return torch.randint(0, 2, (n, *shape), generator=g) * 2.0 - 1

    axis = torch.arange(SIZE) + 0.5
    y, x = axis.view(1, 1, SIZE, 1), axis.view(1, 1, 1, SIZE)

    # A sloped grey level with cloudy noise.
    slope_y, slope_x = uniform(-0.2, 0.2, 1, 1, 1), uniform(-0.2, 0.2, 1, 1, 1)
    ground = uniform(0.2, 0.45, 1, 1, 1) + slope_y * (y / SIZE - 0.5) + slope_x * (x / SIZE - 0.5)
    clouds = 0.06 * torch.randn(n, 1, 7, 7, generator=g)
    ground = ground + F.interpolate(clouds, SIZE, mode="bilinear", align_corners=True)

    # Blobs: turned ellipses, lighter or darker.
    count = 5
    cy, cx = uniform(0, SIZE, count, 1, 1), uniform(0, SIZE, count, 1, 1)
    turn = uniform(0, np.pi, count, 1, 1)
    u = ((x - cx) * turn.cos() + (y - cy) * turn.sin()) / uniform(2, 9, count, 1, 1)
    v = ((y - cy) * turn.cos() - (x - cx) * turn.sin()) / uniform(2, 9, count, 1, 1)
    level = uniform(0.05, 0.22, count, 1, 1) * sign(count, 1, 1)
    blobs = level * torch.sigmoid(4 * (1 - u.square() - v.square()))

    # Strokes: pieces of wide arcs, thinner than a digit's ink and too flat to form one.
    count = 6
    cy, cx = uniform(0, SIZE, count, 1, 1), uniform(0, SIZE, count, 1, 1)
    turn, radius = uniform(0, 2 * np.pi, count, 1, 1), uniform(25, 80, count, 1, 1)
    from_arc = (y - cy - radius * turn.sin()).hypot(x - cx - radius * turn.cos()) - radius
    reach = uniform(4, 20, count, 1, 1) - (y - cy).hypot(x - cx)
    width = uniform(0.5, 1.3, count, 1, 1)
    level = uniform(0.1, 0.4, count, 1, 1) * sign(count, 1, 1)
    strokes = level * torch.sigmoid(4 * (width - from_arc.abs())) * torch.sigmoid(2 * reach)

    image = (ground[:, 0] + difficulty * (blobs.sum(1) + strokes.sum(1))).clamp(0.02, 0.8)

    # The digit: enlarged, turned a little, moved to where it fits, then blended in.
    side, turn = uniform(22, 30), uniform(-0.2, 0.2)
    room = difficulty * (SIZE - side) / SIZE
    cy, cx = uniform(-1, 1) * room, uniform(-1, 1) * room
    zoom = SIZE / side
    c, s = zoom * turn.cos(), zoom * turn.sin()
    theta = torch.stack([c, s, -c * cx - s * cy, -s, c, s * cx - c * cy], 1).view(n, 2, 3)
    grid = F.affine_grid(theta, (n, 1, SIZE, SIZE), align_corners=False)
    value = F.grid_sample(digits[:, None], grid, align_corners=False)[:, 0]
    ink = (1.6 * value - 0.2).clamp(0, 1)  # steeper, as enlarging blurs the edges
    image = image + ink * (uniform(0.75, 1, 1, 1) - image)

    image = image + 0.04 * torch.randn(n, SIZE, SIZE, generator=g)
    return (image * 255).round().clamp(0, 255).to(torch.uint8), ink > 0.5


def normalise(images):
    """What a card asks for: uint8 [N, 48, 48] to float32 [N, 1, 48, 48]."""
    return ((images.float() / 255 - MEAN) / STD)[:, None]


# ---------------------------------------------------------------- networks


def conv_bn(inputs, outputs, kernel=3, groups=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    )


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first = conv_bn(channels, channels)
        self.second = conv_bn(channels, channels)

    def forward(self, x):
        return F.relu(x + self.second(F.relu(self.first(x))))


class Separable(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.depthwise = conv_bn(inputs, inputs, groups=inputs)
        self.pointwise = conv_bn(inputs, outputs, kernel=1)

    def forward(self, x):
        return F.relu(self.pointwise(F.relu(self.depthwise(x))))


class DigitsCnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv_bn(1, 16)
        self.blocks = nn.Sequential(
            nn.MaxPool2d(2),
            Separable(16, 32),
            Residual(32),
            nn.MaxPool2d(2),
            Separable(32, 64),
            Residual(64),
            nn.MaxPool2d(2),
            Separable(64, 128),
            Separable(128, 128),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(128, 10)

    def forward(self, image):
        x = self.blocks(F.relu(self.stem(image)))
        return self.head(self.pool(x).flatten(1))


class Attention(nn.Module):
    """Written out, so that it becomes plain MatMul and Softmax."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.per_head = heads, width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        # -1 stands for the batch: a size read from x would put Shape nodes in the graph.
        tokens, width = int(x.shape[1]), self.heads * self.per_head
        split = (-1, tokens, self.heads, self.per_head)
        q = self.query(x).reshape(split).permute(0, 2, 1, 3)
        k = self.key(x).reshape(split).permute(0, 2, 3, 1)
        v = self.value(x).reshape(split).permute(0, 2, 1, 3)
        weights = torch.softmax(q @ k * self.per_head**-0.5, dim=-1)
        return self.out((weights @ v).permute(0, 2, 1, 3).reshape(-1, tokens, width))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class DigitsVit(nn.Module):
    def __init__(self, patch=6, width=64, heads=4, depth=3):
        super().__init__()
        self.width, self.tokens = width, (SIZE // patch) ** 2
        self.patches = nn.Conv2d(1, width, patch, stride=patch)
        self.position = nn.Parameter(0.1 * torch.randn(1, self.tokens, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, image):
        x = self.patches(image).reshape(-1, self.width, self.tokens).permute(0, 2, 1)
        x = self.norm(self.blocks(x + self.position))
        return self.head(x.mean(1))


# Network, epochs, those over which difficulty rises, peak learning rate, and a description
# for the card. The transformer does not get off the ground on the full task at once: it
# has to find out first that neighbouring patches belong together.
MODELS = {
    "digits-cnn": (
        DigitsCnn, 60, 0, 4e-3,
        "Finds which handwritten digit is on a cluttered 48x48 grey image. Convolutional: "
        "residual and depthwise-separable blocks, batch normalisation, max pooling.",
    ),
    "digits-vit": (
        DigitsVit, 400, 80, 1.5e-3,
        "Finds which handwritten digit is on a cluttered 48x48 grey image. A vision transformer: "
        "6x6 patches, learned positions, three blocks of four-headed attention.",
    ),
}  # fmt: skip


def seed_for(kind, number=0):
    """Seeds for rendering that differ between uses."""
    return {"train": 1, "tune": 2, "held-out": 3, "samples": 4}[kind] * 10_000_000 + number


def accuracy(model, part, backgrounds):
    digits, labels = load(part)
    right = 0
    with torch.no_grad():
        for i in range(backgrounds):
            images, _ = render(digits, seed_for(part, i))
            right += int((model(normalise(images)).argmax(1) == labels).sum())
    return right / (backgrounds * len(labels))


def train(name):
    network, epochs, rising, rate, _ = MODELS[name]
    torch.manual_seed(0)
    model = network()
    digits, labels = load("train")
    batch = 50  # divides TRAIN
    steps = TRAIN // batch
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=epochs * steps, pct_start=0.15
    )
    started = time.time()
    for epoch in range(epochs):
        model.train()
        total = 0.0
        difficulty = min(1.0, epoch / rising) if rising else 1.0
        order = torch.randperm(TRAIN)
        for step, index in enumerate(order.split(batch)):
            images, _ = render(
                digits[index], seed_for("train", epoch * steps + step), difficulty
            )
            loss = F.cross_entropy(model(normalise(images)), labels[index], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        model.eval()
        if epoch % 10 == 9 or epoch == epochs - 1:
            print(f"{name}: epoch {epoch + 1}/{epochs}, loss {total / steps:.3f}, "
                  f"tuning set {accuracy(model, 'tune', 2):.2%}, {time.time() - started:.0f} s",
                  flush=True)  # fmt: skip
    return model


# ---------------------------------------------------------------- files


def session(name):
    import onnxruntime

    return onnxruntime.InferenceSession(HERE / f"{name}.onnx", providers=["CPUExecutionProvider"])


def export(model, name):
    import onnx

    path = HERE / f"{name}.onnx"
    # Without folding, BatchNormalization stays visible and initializers keep the names of
    # the parameters, from which export_gradient.py loads them again.
    torch.onnx.export(
        model, (torch.zeros(2, 1, SIZE, SIZE),), str(path), dynamo=False, opset_version=18,
        input_names=["image"], output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
    )  # fmt: skip
    proto = onnx.load(path)
    proto.graph.name = name
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)

    images = normalise(render(load("held-out")[0][:32], 0)[0])
    with torch.no_grad():
        expected = model(images).numpy()
    got = session(name).run(None, {"image": images.numpy()})[0]
    one = session(name).run(None, {"image": images[:1].numpy()})[0]
    error = max(np.abs(got - expected).max(), np.abs(one - expected[:1]).max())
    print(f"{name}: {path.stat().st_size:,} bytes, largest logit difference {error:.1e}")
    assert error < 1e-4


def write_card(name, score):
    held_out = len(load("held-out")[1])
    labels = ", ".join(f'"{i}"' for i in range(10))
    (HERE / f"{name}.toml").write_text(f"""\
name = "{name}"
description = "{MODELS[name][-1]}"
data = "The 1,797 handwritten digits of scikit-learn's load_digits (UCI Optical Recognition of Handwritten Digits, CC BY 4.0) on generated backgrounds; {TRAIN:,} of them for training"
accuracy = "{100 * score:.1f} % of {held_out} held-out digits, each on {BACKGROUNDS} fresh backgrounds"
license = "CC0-1.0"
labels = [{labels}]

[input]
layout = "nchw"
color = "gray"
resize = "stretch"
scale = {1 / 255!r}
mean = [{MEAN}]
std = [{STD}]
""")


def write_samples():
    """Per class, the held-out digit that both models are surest about."""
    from PIL import Image

    folder = HERE / "samples"
    folder.mkdir(exist_ok=True)
    digits, labels = load("held-out")
    images, masks = render(digits, seed_for("samples"))
    sure = torch.ones(len(labels))  # the lower of the two probabilities of the right class
    for name in MODELS:
        logits = session(name).run(None, {"image": normalise(images).numpy()})[0]
        probability = torch.from_numpy(logits).softmax(1)
        sure = sure.minimum(probability[torch.arange(len(labels)), labels])
    for label in range(10):
        index = int((sure * (labels == label)).argmax())
        assert sure[index] > 0.5, "a model is wrong"
        Image.fromarray(images[index].numpy()).save(folder / f"digit-{label}.png", optimize=True)
        mask = masks[index].numpy().astype(np.uint8) * 255
        Image.fromarray(mask).save(folder / f"digit-{label}.mask.png", optimize=True)
        print(f"samples: {label} is held-out digit {index}, probability >= {sure[index]:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    choices = [*MODELS, "samples"]
    parser.add_argument("what", nargs="*", metavar="|".join(choices), help="all if omitted")
    args = parser.parse_args()
    if unknown := set(args.what) - set(choices):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    warnings.simplefilter("ignore")  # of the exporter, which has a successor
    torch.set_num_threads(1)  # the order of additions, and so the result, stays the same
    for name in MODELS:
        if not args.what or name in args.what:
            model = train(name)
            score = accuracy(model, "held-out", BACKGROUNDS)
            parameters = sum(p.numel() for p in model.parameters())
            print(f"{name}: {parameters:,} parameters, held-out accuracy {score:.2%}")
            export(model, name)
            write_card(name, score)
    if not args.what or "samples" in args.what:
        write_samples()


if __name__ == "__main__":
    main()
