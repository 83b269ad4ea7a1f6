#!/usr/bin/env python3
"""Time, passes and memory of integrated gradients beside Captum: one thread, 224 x 224.

    benches/peers/integrated_gradients.py --whyline target/release/whyline --image photo.jpg

Captum takes its default of 50 Gauss-Legendre steps, as one batch and as batches of one,
the faster one counts, and leaves a completeness gap. whyline is asked for a gap no
larger (`--tolerance`), and says how many gradients it took; its time is the method's,
without starting the process and preparing the model, as Captum's is. Both engines take
turns. Memory is the peak of a process that explains one input.

Needs torch, torchvision, captum, onnx (PyPI).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402  (the variables above must be set first)
import torch  # noqa: E402

from passes import export, model  # noqa: E402

STEPS = 50


def inputs(images):
    rng = np.random.default_rng(0)
    yield "noise", rng.standard_normal((1, 3, 224, 224), dtype=np.float32)
    from PIL import Image

    mean, std = (np.reshape(v, (3, 1, 1)) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for path in images:
        pixels = np.asarray(Image.open(path).convert("RGB").resize((224, 224)), np.float32) / 255
        yield path.name, ((pixels.transpose(2, 0, 1) - mean) / std)[None].astype(np.float32)


def captum_run(net, x, target, batch):
    from captum.attr import IntegratedGradients

    start = time.perf_counter()
    _, delta = IntegratedGradients(net).attribute(
        x, target=target, n_steps=STEPS, internal_batch_size=batch, return_convergence_delta=True)
    return (time.perf_counter() - start) * 1e3, abs(float(delta))


def whyline_run(binary, path, file, target, tolerance, steps):
    out = subprocess.run(
        [binary, "explain", path, file, "-m", "integrated-gradients", "--tolerance", repr(tolerance), "--steps",
         str(steps), "--target", str(target), "--threads", "1", "--json", "-"],
        check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def peak_memory(command):
    """Peak resident memory of a process, MiB."""
    run = subprocess.run([sys.executable, "-c", """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
""", *map(str, command)], check=True, capture_output=True, text=True)
    return float(run.stdout)


def compare(name, binary, folder, rounds, images):
    path, net = export(name, folder), model(name)
    for label, x in inputs(images):
        tensor = torch.from_numpy(x)
        with torch.inference_mode():
            target = int(net(tensor).argmax())
            change = float(net(tensor)[0, target] - net(torch.zeros_like(tensor))[0, target])
        file = folder / "input.npy"
        np.save(file, x)
        captum, whyline, record, gap = {None: [], 1: []}, [], None, 0.0
        for _ in range(rounds):
            for batch, times in captum.items():
                took, gap = captum_run(net, tensor, target, batch)
                times.append(took)
            record = whyline_run(binary, path, file, target, gap / abs(change), 1024)
            whyline.append(record["timing"]["explain_ms"])
        best = min(map(statistics.median, captum.values()))
        own = statistics.median(whyline)
        print(f"| {name} | {label} | {gap / abs(change):.2%} | {record['completeness']['relative_gap']:.2%} "
              f"| {record['passes']['gradient']} | {own:.0f} | {best:.0f} | {own / best:.3f} | {record['status']} |")
        sys.stdout.flush()


def child(name):
    """A process that does what Captum's users do."""
    captum_run(model(name), torch.randn(1, 3, 224, 224), 0, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whyline", default="target/release/whyline")
    parser.add_argument("--models", nargs="*", default=["resnet18", "mobilenet_v2"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image", type=Path, nargs="*", default=[], help="photographs, besides noise")
    parser.add_argument("--cache", type=Path, help="folder for the exported models")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child:
        return child(options.child)
    folder = options.cache or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    print(f"| model | input | gap of Captum's {STEPS} steps | whyline's gap | gradients | whyline, ms | Captum, ms | ratio | |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in options.models:
        compare(name, options.whyline, folder, options.rounds, options.image)
    print("\n| model | peak memory of whyline, MiB | of Captum, batches of one | ratio |\n|---|---|---|---|")
    for name in options.models:
        np.save(folder / "input.npy", np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32))
        own = peak_memory([options.whyline, "explain", export(name, folder), folder / "input.npy", "-m",
                           "integrated-gradients", "--threads", "1", "--npy", folder / "map.npy"])
        peer = peak_memory([sys.executable, __file__, "--child", name])
        print(f"| {name} | {own:.0f} | {peer:.0f} | {own / peer:.3f} |")


if __name__ == "__main__":
    main()
