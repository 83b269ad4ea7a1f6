"""Metrics of `whyline evaluate`, computed again by their formulas on NumPy, with ONNX Runtime as the model.

    check_metrics.py --whyline target/release/whyline [--model models/digits-cnn.onnx] [--method ig]

For every sample with a mask in models/samples, and every metric without random draws, prints the largest relative
difference. Exits with 1 where one is above 1e-3, completeness excepted: it is itself a small difference of large numbers.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter

HERE = Path(__file__).parent
SIDE = 48
STEPS = SIDE
BOUND = 1e-3


class Sample:
    """An image, its map and mask, all flat, and the model's scores of the class explained."""

    def __init__(self, session, card, image, map, target):
        self.session, self.target = session, target
        pixels = np.asarray(Image.open(image).convert("L"), dtype=np.float32)
        self.x = ((pixels * card["scale"] - card["mean"][0]) / card["std"][0]).reshape(-1)
        self.mask = np.asarray(Image.open(image.with_suffix(".mask.png")).convert("L")).reshape(-1) > 127
        self.map = map.reshape(-1).astype(float)
        self.order = np.lexsort((np.arange(self.map.size), -self.map))

    def logits(self, inputs):
        name = self.session.get_inputs()[0].name
        images = np.stack(inputs).reshape(-1, 1, 1, SIDE, SIDE).astype(np.float32)
        return np.stack([self.session.run(None, {name: image})[0].reshape(-1) for image in images]).astype(float)

    def logit(self, inputs):
        return self.logits(inputs)[:, self.target]

    def probability(self, inputs):
        logits = self.logits(inputs)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return (powers / powers.sum(1, keepdims=True))[:, self.target]

    def replaced(self, features, baseline):
        changed = self.x.copy()
        changed[features] = baseline[features]
        return changed


def area(heights):
    return (heights.sum() - 0.5 * (heights[0] + heights[-1])) / (len(heights) - 1)


def removal(s, baseline):
    each = s.x.size // STEPS
    return area(s.probability([s.replaced(s.order[: step * each], baseline) for step in range(STEPS + 1)]))


def patches(size):
    places = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    corners = range(0, SIDE, size)
    return [places[i : i + size, j : j + size].reshape(-1) for i in corners for j in corners]


def patch_heights(s, size):
    ranked = sorted(patches(size), key=lambda patch: -s.map[patch].sum())
    gone = [np.concatenate([np.array([], dtype=int), *ranked[:count]]) for count in range(len(ranked) + 1)]
    return s.probability([s.replaced(features, np.zeros_like(s.x)) for features in gone])


def sparseness(s):
    sizes = np.sort(np.abs(s.map))
    places = np.arange(1, sizes.size + 1)
    return ((2 * places - sizes.size - 1) * sizes).sum() / (sizes.size * sizes.sum())


def complexity(s):
    shares = np.abs(s.map) / np.abs(s.map).sum()
    return -(shares[shares > 0] * np.log(shares[shares > 0])).sum()


def auc(s):
    beside = s.map[~s.mask]
    return np.mean([(value > beside).mean() + 0.5 * (value == beside).mean() for value in s.map[s.mask]])


def faithfulness_estimate(s):
    blocks = np.split(s.order, STEPS)
    lost = s.logit([s.x])[0] - s.logit([s.replaced(block, np.zeros_like(s.x)) for block in blocks])
    return np.corrcoef([s.map[block].sum() for block in blocks], lost)[0, 1]


def infidelity(s):
    lost = s.logit([s.x])[0] - s.logit([s.replaced(patch, np.zeros_like(s.x)) for patch in patches(8)])
    return np.mean((np.array([s.map[patch].sum() for patch in patches(8)]) - lost) ** 2)


def completeness(s):
    difference = np.subtract(*s.logit([s.x, np.zeros_like(s.x)]))
    return abs(s.map.sum() - difference) / abs(difference)


def region_perturbation(s):
    heights = patch_heights(s, 9)
    return (heights[0] - heights).mean()


def farthest(s):
    low, high = s.x.min(), s.x.max()
    return np.where(s.x - low > high - s.x, low, high)


def insertion(s):
    """From RISE's blur: a point blurred inside 11 x 11 pixels, as the kernel over the image amid zeros."""
    point = np.zeros((11, 11))
    point[5, 5] = 1
    blurred = convolve(s.x.reshape(SIDE, SIDE).astype(float), gaussian_filter(point, 5), mode="constant").reshape(-1)
    each = s.x.size // STEPS
    return area(s.probability([s.replaced(s.order[step * each :], blurred) for step in range(STEPS + 1)]))


METRICS = {
    "sparseness": sparseness,
    "complexity": complexity,
    "auc": auc,
    "relevance-mass": lambda s: np.abs(s.map[s.mask]).sum() / np.abs(s.map).sum(),
    "relevance-rank": lambda s: s.mask[s.order[: s.mask.sum()]].mean(),
    "attribution-localisation": lambda s: s.map.clip(0)[s.mask].sum() / s.map.clip(0).sum(),
    "insertion": insertion,
    "deletion": lambda s: removal(s, np.zeros_like(s.x)),
    "pixel-flipping": lambda s: removal(s, farthest(s)),
    "faithfulness-estimate": faithfulness_estimate,
    "region-perturbation": region_perturbation,
    "selectivity": lambda s: area(patch_heights(s, 8)),
    "infidelity": infidelity,
    "completeness": completeness,
}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--whyline", required=True)
    args.add_argument("--model", type=Path, default=HERE / "digits-cnn.onnx")
    args.add_argument("--method", default="integrated-gradients")
    args = args.parse_args()
    session = ort.InferenceSession(args.model)
    card = tomllib.loads(args.model.with_suffix(".toml").read_text())["input"]
    card = {"scale": 1 / 255, **card}
    worst = dict.fromkeys(METRICS, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        lines, map = Path(folder) / "lines.jsonl", Path(folder) / "map.npy"
        common = ["-m", args.method, "-q"]
        # Noise is drawn otherwise here, so that regions become zero.
        told = ["--metrics", ",".join(METRICS), "--metric-param", "region-perturbation.baseline=zero"]
        evaluate = [args.whyline, "evaluate", args.model, HERE / "samples", *common, *told, "--samples", lines]
        subprocess.run([str(word) for word in evaluate], check=True)
        for line in lines.read_text().splitlines():
            line = json.loads(line)
            (own,) = line["methods"].values()
            image = HERE / "samples" / line["file"]
            explain = [args.whyline, "explain", args.model, image, *common, "--npy", map]
            subprocess.run([str(word) for word in explain], check=True)
            sample = Sample(session, card, image, np.load(map), own["class"])
            for metric, formula in METRICS.items():
                expected = formula(sample)
                worst[metric] = max(worst[metric], abs(own[metric] - expected) / max(abs(expected), 1e-9))
    print("| metric | largest relative difference |\n|---|---|")
    for metric, error in worst.items():
        print(f"| {metric} | {error:.1e} |")
    sys.exit(any(error > BOUND for metric, error in worst.items() if metric != "completeness"))


if __name__ == "__main__":
    main()
