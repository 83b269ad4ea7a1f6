#!/usr/bin/env python3
"""Times of one pass beside PyTorch and ONNX Runtime: one thread, 224 x 224, batch 1.

    benches/peers/passes.py --whyline target/release/whyline

Every model gets random weights, is exported to ONNX once, and is then timed by all
engines in turn, round after round, so that what disturbs the machine disturbs all:

    whyline         forward and gradient pass, by `whyline bench`
    torch           eager, weights without gradients; forward, and forward + backward
                    to the input; contiguous and channels_last, the better one counts
    onnxruntime     the forward model, and the gradient file of `whyline compile`

Prints each engine's minimum, quartiles and maximum, the ratios of the medians, and what
ratio no kernel could go below: the gradient pass's multiplications and additions, fewer
by Winograd's algorithm, at this machine's peak.
Needs torch, torchvision, onnx, onnxruntime (PyPI) and, for the export, onnxscript.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402  (the variables above must be set first)
import onnxruntime  # noqa: E402
import torch  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "models"))
from parity import build  # noqa: E402

MODELS = ["resnet18", "resnet50", "mobilenet_v2", "squeezenet1_1", "efficientnet_b0", "vit_tiny"]


def model(name):
    if name != "vit_tiny":
        return build(name, 224)
    from torchvision.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    net = VisionTransformer(224, 16, 12, 3, 192, 768)
    # It comes with a head of zeros, whose gradient is zero everywhere.
    torch.nn.init.normal_(net.heads.head.weight, std=0.05)
    return net.eval().requires_grad_(False)


def export(name, folder):
    path = folder / f"{name}.onnx"
    if not path.exists():
        args = dict(input_names=["input"], output_names=["logits"], opset_version=17, dynamo=False)
        torch.onnx.export(model(name), torch.zeros(1, 3, 224, 224), str(path), **args)
    return path


def torch_passes(name, channels_last):
    net, x = model(name), torch.randn(1, 3, 224, 224)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)

    def forward():
        with torch.inference_mode():
            net(x)

    def gradient():
        leaf = x.detach().clone().requires_grad_(True)
        logits = net(leaf)
        logits[0, int(logits.argmax())].backward()

    return forward, gradient


def ort_pass(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {}
    for i in session.get_inputs():
        shape = [d if isinstance(d, int) else 1 for d in i.shape]
        feeds[i.name] = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return lambda: session.run(None, feeds)


def timed(run, count):
    times = []
    for _ in range(count + 1):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return times[1:]


def whyline(binary, path, runs):
    out = subprocess.run([binary, "bench", path, "--runs", str(runs), "--json", "-"],
                         check=True, capture_output=True, text=True).stdout
    report = json.loads(out)
    return report["forward"]["samples_ms"], report["gradient"]["samples_ms"]


def least(binary, path):
    """Milliseconds of a gradient pass whose matrix products run at this machine's peak, and which does nothing else."""
    out = subprocess.run([binary, "bench", path, "--runs", "3", "--steps", "--json", "-"],
                         check=True, capture_output=True, text=True).stdout
    report = json.loads(out)
    return sum(step["flops"] for step in report["steps"]["gradient"]) / report["peak_gflops"] * 1e-6


def measure(name, binary, folder, rounds, runs):
    path = export(name, folder)
    gradient_file = folder / f"{name}.gradient.onnx"
    if not gradient_file.exists():
        subprocess.run([binary, "compile", path, "-o", gradient_file], check=True, capture_output=True)
    peers = {}
    for layout in ("contiguous", "channels_last"):
        forward, gradient = torch_passes(name, layout == "channels_last")
        peers[f"torch {layout}", "forward"] = forward
        peers[f"torch {layout}", "gradient"] = gradient
    peers["onnxruntime", "forward"] = ort_pass(path)
    peers["onnxruntime", "gradient"] = ort_pass(gradient_file)
    times = {key: [] for key in [("whyline", "forward"), ("whyline", "gradient"), *peers]}
    for _ in range(rounds):
        forward, gradient = whyline(binary, path, runs)
        times["whyline", "forward"] += forward
        times["whyline", "gradient"] += gradient
        for key, run in peers.items():
            times[key] += timed(run, runs)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whyline", default="target/release/whyline")
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10, help="passes of each engine per round")
    parser.add_argument("--cache", type=Path, help="folder for the exported models")
    parser.add_argument("--json", type=Path, help="write every time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.cache or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    everything, summary = {}, []
    for name in options.models:
        times = measure(name, options.whyline, folder, options.rounds, options.runs)
        everything[name] = {f"{engine} {kind}": t for (engine, kind), t in times.items()}
        print(f"\n{name:<32} {'min':>8} {'25 %':>8} {'median':>8} {'75 %':>8} {'max':>8}  ms")
        for (engine, kind), t in times.items():
            low, q1, q2, q3, high = np.percentile(t, [0, 25, 50, 75, 100])
            print(f"  {engine + ' ' + kind:<30} {low:8.2f} {q1:8.2f} {q2:8.2f} {q3:8.2f} {high:8.2f}")
        median = {key: float(np.median(t)) for key, t in times.items()}
        best = min((m, key[0]) for key, m in median.items() if key[1] == "gradient" and key[0] != "whyline")
        own = median["whyline", "forward"], median["whyline", "gradient"]
        summary.append((name, own[1], best, own[1] / best[0], own[1] / own[0],
                        own[0] / median["onnxruntime", "forward"],
                        least(options.whyline, export(name, folder)) / best[0]))
        sys.stdout.flush()
    print("\n| model | gradient, ms | best peer, ms | gradient / best peer | gradient / own forward "
          "| forward / ONNX Runtime | at peak / best peer |\n|---|---|---|---|---|---|---|")
    for name, own, best, ratio, twice, forward, bound in summary:
        print(f"| {name} | {own:.1f} | {best[0]:.1f} ({best[1]}) | {ratio:.2f} | {twice:.2f} | {forward:.2f} | {bound:.2f} |")
    if options.json:
        options.json.write_text(json.dumps(everything))


if __name__ == "__main__":
    main()
